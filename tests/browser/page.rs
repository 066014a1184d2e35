//! The page of one file.

use pinfire_tests::binary::call;
use serde_json::{Value, json};

use crate::{
    chromium::{self, Page},
    run,
};

/// Where a chart lies: left, top, width, height of its canvas, scrolled into view.
fn canvas(page: &mut Page, name: &str) -> [f64; 4] {
    let script = format!(
        "(() => {{ const c = document.querySelector('canvas[data-chart={name}]'); c.scrollIntoView({{block: 'center'}}); \
         const r = c.getBoundingClientRect(); return [r.left, r.top, r.width, r.height]; }})()"
    );
    let value = page.value(&script);
    [0, 1, 2, 3].map(|at| value[at].as_f64().unwrap())
}

/// Names of charts on which nothing but background was drawn.
const BLANK: &str = "[...document.querySelectorAll('canvas')].filter((c) => { \
    const p = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; const seen = new Set(); \
    for (let i = 0; i < p.length; i += 4) seen.add(p[i] * 65536 + p[i + 1] * 256 + p[i + 2]); \
    return seen.size < 5; }).map((c) => c.dataset.chart)";

#[test]
fn charts_hover_zoom_search_and_compare() {
    let Some(browser) = chromium::find() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), "slow", "2");
    run(folder.path(), "fast", "8");
    let root = folder.path().to_str().unwrap();
    let made = call(["plot", root, "--html", "--num-gpus", "2"])
        .run()
        .code(0);
    assert!(made.stderr.contains("report.html"), "{}", made.stderr);

    let mut page = Page::new(&browser);
    page.open(&format!("file://{root}/plots/report.html"));
    page.until("document.querySelectorAll('canvas[data-marks]').length > 5");

    // Two runs: the comparison comes first, with a column each and a distribution of both.
    assert_eq!(
        page.value("document.querySelectorAll('#compared thead th').length"),
        3
    );
    assert_eq!(page.value(BLANK), json!([]));
    let both = "document.querySelector('figure[data-figure=compare_latency_ms] .legend').innerText";
    let both = page.value(both);
    assert!(
        both.as_str().unwrap().contains("slow") && both.as_str().unwrap().contains("fast"),
        "{both}"
    );

    // A chart of one's own: two runs along what was asked of them; a click on a point opens its
    // run.
    page.value("(() => { const s = document.getElementById('y-metric'); s.value = 'time_to_first_token'; s.dispatchEvent(new Event('change')); })()");
    page.value("(() => { const s = document.getElementById('y-stat'); s.value = 'p90'; s.dispatchEvent(new Event('change')); })()");
    page.click("#add");
    page.until("document.querySelector('canvas[data-chart=own_1]')?.dataset.marks === '2'");
    let title = page.value("document.querySelector('figure[data-figure=own_1] strong').innerText");
    assert_eq!(
        title,
        "Time to First Token p90 against Concurrency asked for"
    );
    page.click("figure[data-figure=own_1] figcaption button:nth-of-type(2)");
    let rows = page.value("[...document.querySelectorAll('figure[data-figure=own_1] tbody tr')].map((r) => [r.children[1].innerText, r.children[5].innerText])");
    assert_eq!(rows, json!([["2", "slow"], ["8", "fast"]]));
    // Without one of them it has the other alone.
    page.click("input[data-choose='0']");
    page.until("!document.querySelector('canvas[data-chart=own_1]')");
    page.click("input[data-choose='0']");
    page.until("document.querySelector('canvas[data-chart=own_1]')?.dataset.marks === '2'");
    assert_eq!(
        page.value("document.getElementById('all').innerText"),
        "All charts as one PNG"
    );
    let [left, top, width, height] = canvas(&mut page, "own_1");
    'open: for row in 1..30 {
        for column in 1..30 {
            let (x, y) = (
                left + width * f64::from(column) / 30.0,
                top + height * f64::from(row) / 30.0,
            );
            page.mouse("mouseMoved", x, y);
            if page.value("[...document.querySelectorAll('figure[data-figure=own_1] .tip')].some((t) => t.innerText.startsWith('slow') && !t.hidden)") == true {
                page.mouse("mousePressed", x, y);
                page.mouse("mouseReleased", x, y);
                break 'open;
            }
        }
    }
    page.until("document.querySelector('button[data-view=overview]').getAttribute('aria-current') === 'page' && document.querySelector('main h2').innerText === 'slow'");
    page.click("button[data-view='charts']");

    // The charts of one run, each with marks.
    page.click("button[data-run='0']");
    page.until("Boolean(document.querySelector('canvas[data-chart=ttft_over_time][data-marks]'))");
    let marks =
        page.value("document.querySelector('canvas[data-chart=ttft_over_time]').dataset.marks");
    let answered = page.value("document.querySelectorAll('canvas').length");
    assert!(answered.as_u64().unwrap() > 10, "{answered}");
    assert_eq!(page.value(BLANK), json!([]));
    assert!(
        marks.as_str().unwrap().parse::<u32>().unwrap() > 30,
        "{marks}"
    );

    // Hover: along the middle of the chart there is a point near enough somewhere.
    let [left, top, width, height] = canvas(&mut page, "ttft_over_time");
    let tip = "[...document.querySelectorAll('figure[data-figure=ttft_over_time] .tip')].map((t) => t.hidden ? '' : t.innerText)[0]";
    let mut said = Value::Null;
    'look: for row in 1..12 {
        for column in 2..10 {
            page.mouse(
                "mouseMoved",
                left + width * f64::from(column) / 11.0,
                top + height * f64::from(row) / 13.0,
            );
            said = page.value(tip);
            if said != "" {
                break 'look;
            }
        }
    }
    assert!(
        said.as_str().unwrap().contains("Time to First Token"),
        "{said}"
    );

    // Zoom by dragging, back by a key; the keys go from point to point.
    let (x, y) = (left + width * 0.3, top + height * 0.2);
    page.mouse("mousePressed", x, y);
    page.mouse("mouseMoved", x + 150.0, y + 120.0);
    page.mouse("mouseReleased", x + 150.0, y + 120.0);
    page.until(
        "document.querySelector('canvas[data-chart=ttft_over_time]').dataset.zoomed === 'true'",
    );
    page.value("document.querySelector('canvas[data-chart=ttft_over_time]').focus()");
    page.key("0");
    page.until(
        "document.querySelector('canvas[data-chart=ttft_over_time]').dataset.zoomed === 'false'",
    );
    page.key("ArrowRight");
    page.until(&format!("{tip} !== ''"));
    let first = page.value(tip);
    page.key("ArrowRight");
    assert_ne!(page.value(tip), first);

    // Every request is findable: by its id, by its outcome, sorted.
    page.click("button[data-view='requests']");
    page.until("document.querySelectorAll('#requests tbody tr').length === 50");
    let id = page.value("document.querySelector('#requests tbody tr').children[9].innerText");
    let id = id.as_str().unwrap().to_owned();
    page.value(&format!("(() => {{ const s = document.getElementById('search'); s.value = {id:?}; s.dispatchEvent(new Event('input')); }})()"));
    page.until("document.querySelectorAll('#requests tbody tr').length === 1");
    page.value("(() => { const s = document.getElementById('search'); s.value = ''; s.dispatchEvent(new Event('input')); })()");
    page.value("(() => { const s = document.getElementById('outcome'); s.value = 'cancelled'; s.dispatchEvent(new Event('change')); })()");
    page.until("[...document.querySelectorAll('#requests tbody tr')].every((r) => r.children[1].innerText === 'cancelled' && r.children[11].innerText.includes('while'))");
    page.click("#requests thead th:nth-child(4) button");
    assert_eq!(
        page.value(
            "document.querySelector('#requests thead th:nth-child(4)').getAttribute('aria-sort')"
        ),
        "ascending"
    );

    // Both themes draw.
    page.click("#theme");
    page.click("button[data-view='charts']");
    page.until("document.documentElement.dataset.theme === 'dark' && document.querySelectorAll('canvas[data-marks]').length > 10");
    assert_eq!(page.value(BLANK), json!([]));
    page.click("button[data-view='overview']");
    page.until("document.querySelectorAll('#metrics tbody tr').length > 10");

    assert_eq!(page.complaints, [""; 0]);
    assert!(
        page.requests.iter().all(|url| ["file:", "data:", "blob:"]
            .iter()
            .any(|kind| url.starts_with(kind))),
        "{:?}",
        page.requests
    );
}
