//! Texts in pictures: how wide they are about, shorter, in lines, and safe in XML.

use pinfire_guard::is_hostile;

/// About how wide a text is in DejaVu Sans at `size` pixels; rather too wide than too narrow.
pub fn width(text: &str, size: f64) -> f64 {
    let em: f64 = text
        .chars()
        .map(|letter| match letter {
            'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | ' ' | 'I' => 0.34,
            'f' | 't' | 'r' | '(' | ')' | '-' | '/' => 0.42,
            'm' | 'w' | 'M' | 'W' | '%' | '@' => 0.97,
            'A'..='Z' => 0.73,
            letter if letter.is_ascii() => 0.64,
            _ => 1.0,
        })
        .sum();
    em * size
}

/// The text, or its beginning and end with an ellipsis between where it has more than `most`
/// letters: names of runs differ at both ends.
pub fn shortened(text: &str, most: usize) -> String {
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= most {
        return text.to_owned();
    }
    let tail = (most - 1) / 2;
    let head = most - 1 - tail;
    letters[..head]
        .iter()
        .chain(&['…'])
        .chain(&letters[letters.len() - tail..])
        .collect()
}

/// The text in lines that are `room` pixels wide at most, three lines at most.
pub fn wrapped(text: &str, room: f64, size: f64) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last().map_or(0.0, |line| width(line, size));
        if last > 0.0 && last + width(word, size) + 0.4 * size > room {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    if lines.len() > 3 {
        lines.truncate(3);
        if let Some(line) = lines.last_mut() {
            line.push_str(" …");
        }
    }
    lines
}

/// Safe between tags and in attributes; what XML does not know or nobody can see becomes `?`.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(' '),
            letter if is_hostile(letter) || matches!(letter, '\u{fffe}' | '\u{ffff}') => {
                out.push('?')
            }
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_keep_both_ends() {
        assert_eq!(shortened("qwen3-concurrency10", 11), "qwen3…ncy10");
        assert_eq!(shortened("short", 11), "short");
        assert_eq!(shortened("größenordnung", 7), "grö…ung");
    }

    #[test]
    fn nothing_gets_out_of_its_element() {
        assert_eq!(escaped("a<b>&\"\u{1}\n"), "a&lt;b&gt;&amp;&quot;? ");
    }

    #[test]
    fn lines_are_within_their_room() {
        let lines = wrapped("one two three four five six", 80.0, 10.0);
        assert!(
            lines.iter().all(|line| width(line, 10.0) <= 80.0),
            "{lines:?}"
        );
        assert_eq!(lines.join(" "), "one two three four five six");
    }
}
