//! Bounded fuzzing of whole answers, from the corpus: no panic, one verdict, the same for every
//! cut.

use pinfire_base::random::Purpose;
use pinfire_tests::verdict::{KINDS, one_verdict};

use super::{corpus, cuts::mutate};

/// How many mutations; PINFIRE_MUTATIONS asks for more.
const MUTATIONS: u64 = 20_000;

#[test]
fn every_answer_of_the_corpus_has_one_verdict() {
    for case in corpus::all() {
        for kind in 0..KINDS.len() as u8 {
            for cuts in [&[][..], &[1], &[40, 3, 3], &[90, 1, 1, 1, 50]] {
                let mut data = vec![kind << 5 | cuts.len() as u8];
                data.extend_from_slice(cuts);
                data.extend_from_slice(&case.bytes);
                let result = std::panic::catch_unwind(|| one_verdict(&data));
                assert!(
                    result.is_ok(),
                    "{} as {:?}",
                    case.name,
                    KINDS[usize::from(kind)]
                );
            }
        }
    }
}

#[test]
fn mutated_answers_have_one_verdict() {
    let asked = std::env::var("PINFIRE_MUTATIONS").ok();
    let mutations = asked.map_or(MUTATIONS, |asked| asked.parse().expect("a number"));
    let corpus = corpus::all();
    let purpose = Purpose::new(1, "tests.laws.verdicts");
    let mut data = Vec::new();
    for number in 0..mutations {
        let mut draws = purpose.at(number);
        let case = &corpus[draws.below(corpus.len() as u64) as usize];
        let cuts = draws.below(32) as usize;
        data.clear();
        let kind = draws.below(KINDS.len() as u64) as u8;
        data.push(kind << 5 | cuts as u8);
        data.extend((0..cuts).map(|_| draws.below(48) as u8));
        let from = data.len();
        data.extend_from_slice(&case.bytes);
        for _ in 0..=draws.below(4) {
            mutate(&mut data, from, &mut draws);
        }
        let result = std::panic::catch_unwind(|| one_verdict(&data));
        assert!(
            result.is_ok(),
            "mutation {number} of {}: {:?}",
            case.name,
            data.escape_ascii().to_string()
        );
    }
}
