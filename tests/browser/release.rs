//! The page of a cancel-test.

use pinfire_base::clock::Span;
use pinfire_tests::{
    binary::call,
    mock::{Mock, script},
};
use pinfire_tools::mock::{Release, Script};
use serde_json::json;

use crate::chromium::{self, Page};

/// Lengths of the lines of the charts: requests held, of these waiting, wanted, and the cache.
const LINES: &str = "[...document.querySelectorAll('figure svg[role=img] path.line')].map((p) => p.getTotalLength())";

#[test]
fn a_verdict_with_its_charts_in_both_themes() {
    let Some(browser) = chromium::find() else {
        return;
    };
    let mock = Mock::start(Script {
        ttft: Span::from_millis(60),
        itl: Span::from_millis(15),
        tokens: 40,
        release: Release::LeakOneIn(5),
        ..script()
    });
    let url = format!("http://{}", mock.address());
    let mut test = call([
        "cancel-test",
        "--model=mock",
        "--tokenizer=builtin",
        "--isl=40",
        "--osl=40",
        "--concurrency=10",
        "--waves=2",
        "--settle=2",
    ]);
    test.more(["--url", &url]);
    let run = test.run();
    assert_eq!(run.status.code(), Some(4), "{}{}", run.stdout, run.stderr);
    drop(mock);
    let folder = run.folder().to_str().unwrap();
    // The page that lies beside the JSON, and the one that is made of it later, are one.
    let made = call(["plot", folder, "--html"]).run().code(0);
    assert!(made.stderr.contains("cancel_test.html"), "{}", made.stderr);
    let beside = std::fs::read_to_string(format!("{folder}/cancel_test.html")).unwrap();
    let later = std::fs::read_to_string(format!("{folder}/plots/cancel_test.html")).unwrap();
    assert_eq!(beside, later);

    let mut page = Page::new(&browser);
    page.open(&format!("file://{folder}/cancel_test.html"));
    page.until("document.querySelectorAll('#waves tbody tr').length === 2");
    let verdict = page.value("document.getElementById('verdict').innerText");
    let verdict = verdict.as_str().unwrap();
    for words in ["Leaked", "cancelled requests", "Next: ", "Exit code 4"] {
        assert!(verdict.contains(words), "{words}: {verdict}");
    }
    let lines = page.value(LINES);
    let lines: Vec<f64> = lines
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l.as_f64().unwrap())
        .collect();
    // Of the waiting there may be none, which is a line along the axis.
    assert!(
        lines.len() == 4 && lines.iter().all(|length| *length > 300.0),
        "{lines:?}"
    );
    // Both waves are marked, and each canary is there: one before and one behind each wave.
    assert_eq!(
        page.value("document.querySelectorAll('#requests .band').length"),
        2
    );
    assert_eq!(
        page.value("document.querySelectorAll('#canaries .dot').length"),
        3
    );
    let first = "document.querySelector('#waves tbody tr').children[1].innerText";
    assert_eq!(page.value(first), "before first token");

    // One wave alone has fewer looks in it.
    let looks = "Number(document.querySelector('#requests svg').dataset.looks)";
    let whole = page.value(looks).as_f64().unwrap();
    page.click("#spans button:nth-child(2)");
    page.until(&format!("{looks} < {whole} && {looks} > 3"));
    assert_eq!(
        page.value("document.querySelectorAll('#requests .band').length"),
        1
    );

    let paper = "getComputedStyle(document.body).backgroundColor";
    let before = page.value(paper);
    page.click("#theme");
    assert_ne!(page.value(paper), before);
    assert_eq!(
        page.value("document.documentElement.scrollWidth <= innerWidth"),
        true
    );

    assert_eq!(page.complaints, [""; 0]);
    let outside = page
        .requests
        .iter()
        .filter(|url| !url.starts_with("file:") && !url.starts_with("data:"));
    assert_eq!(json!(outside.collect::<Vec<_>>()), json!([]));
}
