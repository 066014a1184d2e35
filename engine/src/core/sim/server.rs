//! The servers of a simulated run: what they hear, and what they say to it, good and bad.

use super::{
    dice::Dice,
    nature::{MICRO, Nature},
    seal::{CLOSE_NOTIFY, DONE, NO_TLS, SHAKES, Seal, ServerSide},
};

/// What a server says to one request, or in a handshake.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) segments: Vec<(u64, Vec<u8>)>,
    /// When it closes, and with which error number: 0 for an orderly end.
    pub(super) end: Option<(u64, i32)>,
}

/// A request as it went over a connection.
pub(super) struct Asked {
    pub(super) id: Vec<u8>,
    /// Among all bytes of the connection's requests, where half of its body ends, and all of it.
    half: usize,
    end: usize,
    /// Among all bytes of the connection, where it ends.
    ends: Option<usize>,
    pub(super) half_at: Option<u64>,
    pub(super) whole_at: Option<u64>,
    answered: bool,
    pub(super) said: Said,
}

/// What was said to a request, and when it arrived.
#[derive(Default)]
pub(super) struct Said {
    pub(super) head_at: Option<u64>,
    pub(super) contents: Vec<u64>,
    pub(super) whole_at: Option<u64>,
    /// Whatever closes the connection in order makes it whole.
    pub(super) until_close: bool,
}

/// Both sides of one connection.
pub(super) struct Talk {
    side: ServerSide,
    /// Bytes that the client's socket has taken, and that the server has heard.
    taken: usize,
    heard: usize,
    /// Bytes of requests among those that were taken.
    requests: usize,
    /// What has gone of a head that is not whole.
    head: Vec<u8>,
    pub(super) asked: Vec<Asked>,
    /// What was sealed, and is still on its way.
    sealed: Vec<u8>,
}

impl Talk {
    pub(super) fn new(seal: &Seal) -> Self {
        Self {
            side: ServerSide::new(seal),
            taken: 0,
            heard: 0,
            requests: 0,
            head: Vec::new(),
            asked: Vec::new(),
            sealed: Vec::new(),
        }
    }

    /// The client's socket has taken these bytes.
    pub(super) fn took(&mut self, bytes: &[u8], now: u64) {
        self.taken += bytes.len();
        let mut inside = Vec::new();
        self.side.open(bytes, |part| inside.extend_from_slice(part));
        self.asks(&inside, now);
    }

    fn asks(&mut self, bytes: &[u8], now: u64) {
        if bytes.is_empty() {
            return;
        }
        let current = self.asked.last_mut();
        if let Some(asked) = current.filter(|asked| asked.whole_at.is_none()) {
            self.requests += bytes.len();
            asked.reach(self.requests, self.taken, now);
            return;
        }
        let before = self.head.len();
        let begun = self.requests - before;
        self.head.extend_from_slice(bytes);
        self.requests += bytes.len();
        let Some(end) = find(&self.head, b"\r\n\r\n") else {
            return;
        };
        let head = std::mem::take(&mut self.head);
        let at = find(&head, b"X-Request-ID: ").expect("a head has an id") + 14;
        let id = head[at..at + 36].to_vec();
        let at = find(&head, b"Content-Length: ").expect("a head has a length") + 16;
        let digits = head[at..].iter().take_while(|byte| byte.is_ascii_digit());
        let body = digits.fold(0, |sum, &digit| sum * 10 + usize::from(digit - b'0'));
        let end = begun + end + 4;
        let mut asked = Asked {
            id,
            half: end + body / 2,
            end: end + body,
            ends: None,
            half_at: None,
            whole_at: None,
            answered: false,
            said: Said::default(),
        };
        asked.reach(self.requests, self.taken, now);
        self.asked.push(asked);
    }

    /// So many bytes more have arrived at the server.
    pub(super) fn heard(
        &mut self,
        bytes: usize,
        at: u64,
        dice: &Dice,
        nature: &Nature,
    ) -> Vec<Answer> {
        self.heard += bytes;
        let mut answers = Vec::new();
        // What comes in parts is answered as a whole.
        if self.heard == self.taken && self.side.has_to_shake() {
            let real = matches!(self.side, ServerSide::Real(_));
            answers.push(shake_hands(at, real, dice, nature));
        }
        for asked in &mut self.asked {
            let early = dice.once_in(nature.wrong * 3);
            if !asked.answered && (asked.ends.is_some_and(|end| self.heard >= end) || early) {
                asked.answered = true;
                answers.push(asked.answer(at, dice, nature));
            }
        }
        answers
    }

    /// The server says something, or goes on with what it has said: what comes of it at once, and
    /// whether there is more.
    pub(super) fn say(&mut self, said: &[u8], dice: &Dice, nature: &Nature) -> (Vec<u8>, bool) {
        self.side.seal(said, &mut self.sealed, dice, nature);
        // Records are cut anywhere; text is in parts already.
        let real = matches!(self.side, ServerSide::Real(_));
        let all = self.sealed.len();
        let now = match real && dice.once_in(4) {
            true => dice.below(all as u64 + 1) as usize,
            false => all,
        };
        (self.sealed.drain(..now).collect(), now < all)
    }

    /// What is still on its way.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.sealed)
    }
}

impl Asked {
    /// So many bytes of requests have been taken, and so many in all.
    fn reach(&mut self, requests: usize, taken: usize, now: u64) {
        if requests >= self.half {
            self.half_at.get_or_insert(now);
        }
        if requests >= self.end {
            self.whole_at.get_or_insert(now);
            self.ends.get_or_insert(taken);
        }
        assert!(requests <= self.end, "more was sent than the request");
    }

    fn answer(&mut self, at: u64, dice: &Dice, nature: &Nature) -> Answer {
        let mut text = Text::draw(dice);
        let wrong = dice.once_in(nature.wrong);
        self.said.until_close = text.until_close;
        let whole = text.bytes.len();
        let mut closes = text.until_close || dice.once_in(8);
        let mut errno = 0;
        let mut says_end = true;
        if wrong {
            let cut = dice.below(text.bytes.len() as u64 + 1) as usize;
            match dice.below(5) {
                0 => text.cut(cut),
                1 => {
                    text.cut(cut);
                    (closes, says_end) = (true, false);
                }
                2 => {
                    text.cut(cut);
                    (closes, errno) = (true, libc::ECONNRESET);
                }
                3 => text.bytes.extend_from_slice(b"surplus"),
                _ => {
                    text.cut(0);
                    text.bytes
                        .extend_from_slice(b"\x16\x03\x01 no HTTP\r\n\r\n");
                }
            }
        }
        let stalls = text.is_cut && !closes;
        let mut answer = Answer::default();
        let mut time = at + dice.below(nature.gap);
        let mut begin = 0;
        while begin < text.bytes.len() {
            let left = (text.bytes.len() - begin) as u64;
            let length = match dice.once_in(3) {
                true => left,
                false => dice.between(1, left.min(90)),
            };
            let end = begin + length as usize;
            let within = |mark: usize| (begin < mark && mark <= end).then_some(time);
            self.said.head_at = self.said.head_at.or(text.head.and_then(within));
            if !text.is_cut && !text.until_close {
                self.said.whole_at = self.said.whole_at.or(within(whole));
            }
            let contents = text.contents.iter();
            self.said
                .contents
                .extend(contents.filter_map(|&mark| within(mark)));
            let bytes = text.bytes[begin..end].to_vec();
            answer.segments.push((time, bytes));
            begin = end;
            time += dice.below(dice.one_of(&[1, 60 * MICRO, nature.gap]));
        }
        if stalls {
            return answer;
        }
        let rests = dice.once_in(6).then(|| dice.below(nature.gap * 8));
        if closes || rests.is_some() {
            let at = time + rests.filter(|_| !closes).unwrap_or(0);
            if !matches!(nature.seal, Seal::Clear) && says_end && errno == 0 && dice.once_in(2) {
                answer.say_end(at);
            }
            answer.end = Some((at, errno));
        }
        answer
    }
}

impl Answer {
    /// What announces the end over TLS; over TCP it is an end like any other.
    fn say_end(&mut self, at: u64) {
        self.segments.push((at, CLOSE_NOTIFY.to_vec()));
    }
}

/// An answer before it is cut into segments.
struct Text {
    bytes: Vec<u8>,
    /// Where its head ends, and each event with content.
    head: Option<usize>,
    contents: Vec<usize>,
    until_close: bool,
    is_cut: bool,
}

impl Text {
    fn draw(dice: &Dice) -> Self {
        let mut text = Self {
            bytes: Vec::new(),
            head: None,
            contents: Vec::new(),
            until_close: false,
            is_cut: false,
        };
        let promise = match dice.once_in(8) {
            true => "Keep-Alive: timeout=1\r\n",
            false => "",
        };
        match dice.below(10) {
            0..6 => text.stream(true, promise, dice),
            6 => text.stream(false, promise, dice),
            number => {
                let status = if number == 9 { "503 Busy" } else { "200 OK" };
                let body = r#"{"choices":[{"message":{"role":"assistant","content":"whole"}}]}"#;
                let length = body.len();
                text.say(&format!(
                    "HTTP/1.1 {status}\r\n{promise}Content-Length: {length}\r\n\r\n"
                ));
                text.head = Some(text.bytes.len());
                text.say(body);
                text.contents.push(text.bytes.len());
            }
        }
        text
    }

    fn say(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn stream(&mut self, chunked: bool, promise: &str, dice: &Dice) {
        self.until_close = !chunked;
        self.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n");
        self.say(promise);
        self.say(match chunked {
            true => "Transfer-Encoding: chunked\r\n\r\n",
            false => "Connection: close\r\n\r\n",
        });
        self.head = Some(self.bytes.len());
        let piece = |text: &mut Self, event: &str| {
            if chunked {
                text.say(&format!("{:x}\r\n", event.len()));
            }
            text.say(event);
            let end = text.bytes.len();
            if chunked {
                text.say("\r\n");
            }
            end
        };
        for _ in 0..dice.below(6) {
            let end = piece(
                self,
                "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n",
            );
            self.contents.push(end);
        }
        piece(self, "data: [DONE]\n\n");
        if chunked {
            self.say("0\r\n\r\n");
        }
    }

    fn cut(&mut self, at: usize) {
        self.is_cut |= at < self.bytes.len();
        self.bytes.truncate(at);
        self.head = self.head.filter(|&head| head <= at);
        self.contents.retain(|&end| end <= at);
    }
}

/// One step of a handshake. What there is to say in a real one, the session knows.
fn shake_hands(at: u64, real: bool, dice: &Dice, nature: &Nature) -> Answer {
    let mut answer = Answer::default();
    let mut time = at + dice.below(nature.gap);
    let wrong = dice.once_in(nature.wrong);
    for _ in 0..dice.below(3) {
        answer
            .segments
            .push((time, vec![SHAKES; if real { 0 } else { 20 }]));
        time += dice.below(nature.gap);
    }
    match dice.below(4) {
        // It stalls.
        0 if wrong => {}
        1 if wrong => answer.end = Some((time, 0)),
        2 if wrong => answer.end = Some((time, libc::ECONNRESET)),
        3 if wrong => answer.segments.push((time, NO_TLS.to_vec())),
        _ => answer.segments.push((time, vec![DONE; usize::from(!real)])),
    }
    answer
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
