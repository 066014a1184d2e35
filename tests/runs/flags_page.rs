//! docs/FLAGS.md: the help of every command, so that every flag stands on a page.

use std::{fs, path::Path};

use pinfire_tests::binary::call;

const HEAD: &str = "\
# All flags

The long help of every command, as `pinfire COMMAND --help` prints it; `pinfire profile -h` is the short one. The pages by
subject ([README](../README.md) names them) say what the flags are for. Those of the scripted server are in [MOCK.md](MOCK.md).

<!-- Made by a test: PINFIRE_WRITE_PAGES=1 cargo test -p pinfire --test runs flags_page -->
";

fn help(of: &str) -> String {
    let mut call = call(of.split_whitespace());
    call.more(["--help"]);
    call.env("COLUMNS", "100");
    call.run().code(0).stdout
}

/// The commands under one, by the help of it.
fn commands(help: &str) -> Vec<String> {
    let list = help.split("\nCommands:\n").nth(1).unwrap_or_default();
    list.lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_flag_stands_on_the_page_of_flags() {
    let mut page = HEAD.to_owned();
    let mut left = vec![String::new()];
    let mut count = 0;
    while let Some(command) = left.pop() {
        let help = help(&command);
        for name in commands(&help).iter().rev() {
            left.push(format!("{command} {name}").trim().to_owned());
        }
        count += 1;
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        page += &format!("\n## pinfire {command}\n").replace(" \n", "\n");
        page += &format!("\n```text\n{}\n```\n", lines.join("\n").trim_end());
    }
    assert!(count > 10, "{count} commands");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/FLAGS.md");
    if std::env::var_os("PINFIRE_WRITE_PAGES").is_some() {
        fs::write(&path, &page).expect("the page can be written");
    }
    let written = fs::read_to_string(&path).expect("docs/FLAGS.md");
    let differs = written.lines().zip(page.lines()).find(|(a, b)| a != b);
    assert!(
        written == page,
        "docs/FLAGS.md is not what --help says: {differs:?}; write it anew: \
         PINFIRE_WRITE_PAGES=1 cargo test -p pinfire --test runs flags_page"
    );
}
