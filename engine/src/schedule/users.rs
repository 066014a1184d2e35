//! Users who come back: each sends the turns of a conversation at a fixed gap, and when its last
//! turn is due to be over a successor takes its place. The first users stand in the middle of their
//! conversations, so that the load is steady from the start.
//!
//! Time is counted in ticks of the stagger, 1/rate, of which a gap has one per user. A user and all
//! its successors keep to one tick of the gap, a different one each, so no two sessions ever start
//! at once, and an instant is its tick divided by the rate: rounded once, however late.

use std::{cmp::Reverse, collections::BinaryHeap};

use pinfire_base::clock::Span;

/// The users of a phase.
#[derive(Clone, Debug)]
pub struct Users {
    users: u64,
    rate: f64,
    turns: u64,
}

/// A walk through the sessions in order of their starts.
#[derive(Clone, Debug)]
pub struct UserWalk {
    users: Users,
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// Id of the next successor.
    next_user: u64,
    /// Index of the next session to leave the heap.
    next: u64,
    last: UserStart,
}

/// The start of one session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UserStart {
    /// When its first turn is due, from the phase's start.
    pub at: Span,
    /// The user's id, from 1; never used again.
    pub user: u64,
    /// How many turns it sends.
    pub turns: u32,
}

/// Somebody whose start is decided. No two have the same tick, so the order is that of time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Waiting {
    tick: u64,
    /// The id, of the first users only: successors get theirs when they start.
    user: Option<u64>,
    /// Turns left, of a user in the middle of its conversation.
    left: Option<u32>,
}

impl Users {
    /// `users` of them, `rate` turns per second over all, conversations of `mean_turns` on average.
    pub fn new(users: u64, rate: f64, mean_turns: f64) -> Self {
        Self {
            users: users.max(1),
            rate,
            turns: mean_turns.round_ties_even().max(1.0) as u64,
        }
    }

    /// From one turn of a user to its next, start to start.
    pub fn gap(&self) -> Span {
        self.instant(self.users)
    }

    /// From one user's start to the next one's.
    pub fn stagger(&self) -> Span {
        self.instant(1)
    }

    /// A walk that begins at the first session.
    pub fn walk(&self) -> UserWalk {
        let users = self.users;
        let lifetime = (self.turns - 1).max(1);
        let stride = match gcd(users, lifetime) {
            1 => None,
            _ => Some((2..users).find(|&k| gcd(users, k) == 1).unwrap_or(1)),
        };
        // In 128 bits: products of user counts and lifetimes need not fit 64.
        let wide = |a: u64, b: u64| u128::from(a) * u128::from(b);
        // User 0 of the virtual history has finished before the start: its id alone is used up.
        let veterans = (1..users).map(|i| {
            let age = wide(users - i, lifetime);
            let slot = match stride {
                None => age % u128::from(users),
                Some(stride) => wide(i, stride) % u128::from(users),
            };
            let left = u128::from(lifetime) - age / u128::from(users);
            Waiting {
                tick: users - slot as u64,
                user: Some(i + 1),
                left: Some(u32::try_from(left).unwrap_or(u32::MAX)),
            }
        });
        let extra = Waiting {
            tick: 0,
            user: Some(users + 1),
            left: None,
        };
        UserWalk {
            users: self.clone(),
            waiting: veterans.chain([extra]).map(Reverse).collect(),
            next_user: users + 2,
            next: 0,
            last: UserStart {
                at: Span::ZERO,
                user: 0,
                turns: 0,
            },
        }
    }

    fn instant(&self, tick: u64) -> Span {
        Span::from_secs_f64(tick as f64 / self.rate)
    }
}

impl UserWalk {
    /// The start of session `index`, counted in order of time. Indices must not decrease from call
    /// to call. `turns` gives the turns in the conversation of any session up to this one: how long
    /// it is decides when the next user comes.
    pub fn session(&mut self, index: u64, turns: impl Fn(u64) -> u32) -> UserStart {
        while self.next <= index {
            // Whoever leaves the heap puts a successor there: it is never empty.
            let Some(Reverse(starting)) = self.waiting.pop() else {
                break;
            };
            let full = turns(self.next).max(1);
            let turns = starting.left.map_or(full, |left| left.min(full));
            let user = starting.user.unwrap_or_else(|| {
                self.next_user += 1;
                self.next_user - 1
            });
            let gaps = u64::from(turns).saturating_mul(self.users.users);
            self.waiting.push(Reverse(Waiting {
                tick: starting.tick.saturating_add(gaps),
                user: None,
                left: None,
            }));
            self.last = UserStart {
                at: self.users.instant(starting.tick),
                user,
                turns,
            };
            self.next += 1;
        }
        self.last
    }
}

const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (order, user, turns) of the first `count` sessions, one start per second.
    fn starts(users: u64, turns: u32, count: u64) -> Vec<(u64, u64, u32)> {
        let mut walk = Users::new(users, 1.0, f64::from(turns)).walk();
        (0..count)
            .map(|index| {
                let start = walk.session(index, |_| turns);
                let second = start.at.nanos() / 1_000_000_000;
                (second, start.user, start.turns)
            })
            .collect()
    }

    /// Starts, users and turns as AIPerf has them.
    #[test]
    fn the_first_users_stand_where_the_reference_has_them() {
        type Start = (u64, u64, u32);
        let vectors: &[(u64, u32, &[Start])] = &[
            (
                15,
                20,
                &[
                    (0, 16, 20),
                    (1, 5, 6),
                    (2, 9, 11),
                    (3, 13, 16),
                    (4, 2, 2),
                    (5, 6, 7),
                    (6, 10, 12),
                    (7, 14, 17),
                    (8, 3, 3),
                    (9, 7, 8),
                    (10, 11, 13),
                    (11, 15, 18),
                    (12, 4, 4),
                    (13, 8, 9),
                    (14, 12, 14),
                ],
            ),
            (
                5,
                4,
                &[(0, 6, 4), (1, 3, 2), (2, 5, 3), (3, 2, 1), (4, 4, 2)],
            ),
            (4, 3, &[(0, 5, 3), (1, 2, 1), (2, 3, 1), (3, 4, 2)]),
            (
                6,
                4,
                &[
                    (0, 7, 4),
                    (1, 2, 1),
                    (2, 3, 1),
                    (3, 4, 2),
                    (4, 5, 2),
                    (5, 6, 3),
                ],
            ),
            (3, 3, &[(0, 4, 3), (1, 3, 2), (2, 2, 1)]),
            (2, 2, &[(0, 3, 2), (1, 2, 1)]),
            (1, 2, &[(0, 2, 2)]),
        ];
        for &(users, turns, expected) in vectors {
            assert_eq!(starts(users, turns, users), expected, "{users} x {turns}");
        }
    }

    #[test]
    fn stagger_and_gap() {
        let users = Users::new(15, 1.0, 20.0);
        assert_eq!(users.stagger(), Span::from_millis(1_000));
        assert_eq!(users.gap(), Span::from_millis(15_000));
        let users = Users::new(3, 7.0, 2.4);
        assert_eq!(users.stagger().nanos(), 142_857_143);
        assert_eq!(users.gap().nanos(), 428_571_429);
    }

    /// Three users of three turns: 4 starts at 0 with 3 turns, so its successor comes at 0 + 3·3 s;
    /// 3 starts at 1 with 2, successor at 7; 2 starts at 2 with 1, successor at 5.
    #[test]
    fn successors_come_when_the_turns_of_the_one_before_are_due_to_be_over() {
        assert_eq!(
            starts(3, 3, 9),
            [
                (0, 4, 3),
                (1, 3, 2),
                (2, 2, 1),
                (5, 5, 3),
                (7, 6, 3),
                (9, 7, 3),
                (14, 8, 3),
                (16, 9, 3),
                (18, 10, 3),
            ]
        );
    }

    #[test]
    fn conversations_of_different_lengths() {
        // Session:        0  1  2  3  4  5
        let lengths = [2_u32, 1, 5, 1, 4, 2];
        let mut walk = Users::new(3, 1.0, 3.0).walk();
        let seen: Vec<_> = (0..6)
            .map(|index| {
                let start = walk.session(index, |session| lengths[session as usize]);
                (start.at.nanos() / 1_000_000_000, start.user, start.turns)
            })
            .collect();
        // User 3 has 2 turns left but a conversation of 1; user 2 has 1 left of a conversation of
        // 5.
        let expected = [
            (0, 4, 2),
            (1, 3, 1),
            (2, 2, 1),
            (4, 5, 1),
            (5, 6, 4),
            (6, 7, 2),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn the_rate_of_turns_is_the_one_asked_for() {
        for (users, turns) in [(15, 20), (6, 4), (7, 3), (12, 9), (1, 2)] {
            let mut walk = Users::new(users, 10.0, f64::from(turns)).walk();
            let gap = walk.users.gap().nanos();
            let mut due = Vec::new();
            for index in 0..40 * users {
                let start = walk.session(index, |_| turns);
                due.extend((0..u64::from(start.turns)).map(|j| start.at.nanos() + j * gap));
            }
            due.sort_unstable();
            // One turn per tick, with no tick left out, as long as all sessions are known.
            let known = due.len() / 2;
            for (tick, at) in due[..known].iter().enumerate() {
                assert!(
                    at.abs_diff(tick as u64 * 100_000_000) < 100,
                    "{users} x {turns}"
                );
            }
        }
    }

    #[test]
    fn skipping_ahead_is_walking_each() {
        let users = Users::new(7, 3.0, 4.0);
        let turns = |session: u64| 1 + (session % 5) as u32;
        let mut walk = users.walk();
        let each: Vec<_> = (0..200).map(|index| walk.session(index, turns)).collect();
        assert!(each.windows(2).all(|pair| pair[0].at < pair[1].at));
        let mut walk = users.walk();
        for index in (4..200).step_by(13) {
            assert_eq!(walk.session(index, turns), each[index as usize]);
            assert_eq!(walk.session(index, turns), each[index as usize]);
        }
    }
}
