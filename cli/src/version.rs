//! What `--version` says: which build this is, and what it can use here.

/// The features that were left in or out, as Cargo names them.
const FEATURES: [(&str, bool); 3] = [
    ("hub", cfg!(feature = "hub")),
    ("parquet", cfg!(feature = "parquet")),
    ("plot", cfg!(feature = "plot")),
];

/// Version, commit, target, features, and whether io_uring can be used on this machine.
pub fn long() -> String {
    let built = FEATURES.iter().filter(|(_, built)| *built);
    let built: Vec<&str> = built.map(|(name, _)| *name).collect();
    let features = match &built[..] {
        [] => "none of hub, parquet, plot".to_owned(),
        built => built.join(", "),
    };
    let driver = match pinfire_engine::run::try_uring() {
        Ok(()) => "io_uring can be used here".to_owned(),
        Err(cause) => format!("epoll will be used here: {cause}"),
    };
    format!(
        "{}\ncommit: {}\ntarget: {}\nfeatures: {features}\n{driver}",
        env!("CARGO_PKG_VERSION"),
        env!("PINFIRE_COMMIT"),
        env!("PINFIRE_TARGET")
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_says_what_was_built_and_what_there_is() {
        let text = super::long();
        for words in [
            "0.",
            "commit: ",
            "target: ",
            "-linux-",
            "features: ",
            "here",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
}
