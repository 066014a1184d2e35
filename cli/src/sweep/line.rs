//! The arguments of `pinfire profile`, flag by flag, so that runs can be made of them that differ in
//! some.

/// A flag as typed: its long name (a short one with its dash), and its words.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Item {
    name: String,
    words: Vec<String>,
}

impl Item {
    /// Its value, after `=` or as the next word.
    fn value(&self) -> Option<&str> {
        let first = self.words.first()?;
        if let Some((_, value)) = first
            .strip_prefix("--")
            .and_then(|rest| rest.split_once('='))
        {
            return Some(value);
        }
        self.words.get(1).map(String::as_str)
    }
}

/// The arguments behind `pinfire profile`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    program: String,
    items: Vec<Item>,
}

impl Line {
    /// Takes them apart; `None` of another command.
    pub fn read(arguments: &[String]) -> Option<Self> {
        let mut words = arguments.iter();
        let program = words.next()?.clone();
        if words.next()? != "profile" {
            return None;
        }
        Some(Self {
            program,
            items: items(words),
        })
    }

    /// The value of a flag under one of these names.
    pub fn value(&self, names: &[&str]) -> Option<&str> {
        self.items
            .iter()
            .find(|item| names.contains(&item.name.as_str()))?
            .value()
    }

    /// Leaves flags out.
    pub fn remove(&mut self, wanted: impl Fn(&str) -> bool) {
        self.items.retain(|item| !wanted(&item.name));
    }

    /// Gives a flag this value, in its place if it is there.
    pub fn set(&mut self, names: &[&str], value: &str) {
        let Some(first) = names.first() else { return };
        let words = vec![format!("--{first}"), value.to_owned()];
        let found = self
            .items
            .iter_mut()
            .find(|item| names.contains(&item.name.as_str()));
        match found {
            Some(item) => item.words = words,
            None => self.items.push(Item {
                name: (*first).to_owned(),
                words,
            }),
        }
    }

    /// Takes over the flags of another line: one that both have is the other's.
    pub fn overlay(&mut self, other: Self) {
        let replaced = |name: &str| other.items.iter().any(|item| item.name == name);
        self.items.retain(|item| !replaced(&item.name));
        self.items.extend(other.items);
    }

    /// The whole command line.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![self.program.clone(), "profile".to_owned()];
        arguments.extend(self.items.iter().flat_map(|item| item.words.clone()));
        arguments
    }

    /// The words behind `profile`, credentials hidden.
    pub fn stored(&self) -> Vec<String> {
        let words = self.items.iter().flat_map(|item| {
            let whole: Vec<String> = [self.program.clone()]
                .into_iter()
                .chain(item.words.iter().cloned())
                .collect();
            if crate::cmd::profile::shown(&whole).contains(HIDDEN) {
                let name = item.words.first().map_or("", String::as_str);
                let name = name.split('=').next().unwrap_or(name);
                vec![name.to_owned(), HIDDEN.to_owned()]
            } else {
                item.words.clone()
            }
        });
        words.collect()
    }

    /// The line of stored words.
    pub fn restored(program: &str, words: &[String]) -> Self {
        Self {
            program: program.to_owned(),
            items: items(words.iter()),
        }
    }

    /// The first flag whose value was hidden.
    pub fn hidden(&self) -> Option<&str> {
        let found = self
            .items
            .iter()
            .find(|item| item.words.iter().any(|word| word == HIDDEN));
        found.map(|item| item.name.as_str())
    }
}

/// What stands for a credential.
const HIDDEN: &str = "<redacted>";

fn items<'a>(words: impl Iterator<Item = &'a String>) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    let mut rest = false;
    for word in words {
        let is_number = word.parse::<f64>().is_ok();
        let begins = !rest && word.starts_with('-') && word != "-" && !is_number;
        rest = rest || word == "--";
        if begins || items.is_empty() {
            let name = word.strip_prefix("--").unwrap_or(word);
            items.push(Item {
                name: name.split('=').next().unwrap_or(name).to_owned(),
                words: vec![word.clone()],
            });
        } else if let Some(last) = items.last_mut() {
            last.words.push(word.clone());
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        Line::read(&words).unwrap()
    }

    fn text(line: &Line) -> String {
        line.arguments().join(" ")
    }

    #[test]
    fn a_line_is_taken_apart_and_put_together() {
        for typed in [
            "pinfire profile --model m -H a:b --concurrency 10,50 --streaming --x=1 --url a b",
            "pinfire profile",
            "pinfire profile --osl -1 -- --model",
        ] {
            assert_eq!(text(&line(typed)), typed);
        }
        assert_eq!(Line::read(&["pinfire".into(), "plot".into()]), None);
        let one = line("pinfire profile --a 1 --b=2,3 --c --d");
        assert_eq!(one.value(&["a"]), Some("1"));
        assert_eq!(one.value(&["x", "b"]), Some("2,3"));
        assert_eq!(one.value(&["c"]), None);
    }

    #[test]
    fn flags_are_set_where_they_stand() {
        let mut one = line("pinfire profile --num-sessions=2,3 --b 1");
        one.set(&["num-conversations", "num-sessions"], "2");
        one.set(&["artifact-dir"], "x");
        assert_eq!(
            text(&one),
            "pinfire profile --num-conversations 2 --b 1 --artifact-dir x"
        );
        one.remove(|name| name == "b");
        one.overlay(line("pinfire profile --artifact-dir y --c"));
        assert_eq!(
            text(&one),
            "pinfire profile --num-conversations 2 --artifact-dir y --c"
        );
    }

    #[test]
    fn credentials_are_not_stored() {
        let one = line("pinfire profile --api-key sk-1 -H Authorization:x -H a:b --model m");
        let stored = one.stored();
        assert_eq!(
            stored.join(" "),
            "--api-key <redacted> -H <redacted> -H a:b --model m"
        );
        let again = Line::restored("pinfire", &stored);
        assert_eq!(again.hidden(), Some("api-key"));
    }
}
