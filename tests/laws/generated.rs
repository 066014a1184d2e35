//! Random valid streams with random cuts: what was put in comes out.

use pinfire_base::record::MarkKind;
use pinfire_proto::fuzz::{End, run};
use proptest::{collection::vec, prelude::*, sample::select};

use super::corpus::{chunked, delta, until_close};

#[derive(Clone, Debug)]
enum Piece {
    Content(String),
    Comment(String),
    Raw(String),
}

fn piece() -> impl Strategy<Value = Piece> {
    prop_oneof![
        4 => "[a-zA-Z \u{e4}\u{4f60}\u{1f980}]{1,12}".prop_map(Piece::Content),
        1 => "[a-z ]{0,8}".prop_map(Piece::Comment),
        1 => "[a-z<>]{1,8}".prop_map(Piece::Raw),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_valid_stream_is_read_as_it_was_written(
        pieces in vec(piece(), 0..12),
        ends in vec(select(vec!["\n", "\r\n", "\r"]), 12),
        size in 1_usize..200,
        by_close in any::<bool>(),
        bom in any::<bool>(),
        done in any::<bool>(),
        mut cuts in vec(0_usize..4_000, 0..40),
    ) {
        let mut body = String::from(if bom { "\u{feff}" } else { "" });
        let mut expected = Vec::new();
        for (piece, end) in pieces.iter().zip(&ends) {
            let line = match piece {
                Piece::Content(text) => {
                    expected.push((MarkKind::Content, text.clone().into_bytes()));
                    delta(text)
                }
                Piece::Comment(text) => format!(": {text}"),
                Piece::Raw(text) => {
                    expected.push((MarkKind::Data, text.clone().into_bytes()));
                    format!("data: {text}")
                }
            };
            body.push_str(&format!("{line}{end}{end}"));
        }
        if done {
            body.push_str("data: [DONE]\n\n");
            expected.push((MarkKind::Done, Vec::new()));
        }
        let (bytes, end) = if by_close {
            (until_close(&body), End::Close(pinfire_proto::Closed::Complete))
        } else {
            (chunked(body.as_bytes(), size), End::Complete)
        };
        let whole = run(&bytes, []);
        prop_assert_eq!(&whole.events, &expected);
        prop_assert_eq!(whole.end, Some(Ok(end)));
        prop_assert_eq!(whole.body_bytes, body.len());
        cuts.sort_unstable();
        prop_assert_eq!(&run(&bytes, cuts), &whole);
        prop_assert_eq!(&run(&bytes, 1..bytes.len()), &whole);
    }

    #[test]
    fn any_bytes_obey_the_law(
        bytes in vec(any::<u8>(), 0..300),
        head in any::<bool>(),
        mut cuts in vec(0_usize..400, 0..20),
    ) {
        let mut all = if head { until_close("") } else { Vec::new() };
        all.extend_from_slice(&bytes);
        cuts.sort_unstable();
        prop_assert_eq!(run(&all, cuts), run(&all, []));
    }
}
