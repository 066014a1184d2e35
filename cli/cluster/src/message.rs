//! What leader and shards say to each other.

use serde::{Deserialize, Serialize};

/// SHA-256 of something that must be the same everywhere.
pub type Digest = [u8; 32];

/// What the shards of a run must have in common.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Common {
    /// The settings, as each of them understands them.
    Settings,
    /// The credentials, by a salted hash.
    Secrets,
    /// The files that the settings name.
    Files,
    /// The tokenizer.
    Tokenizer,
}

impl Common {
    /// All of them, in the order in which they become known.
    pub const ALL: [Self; 4] = [Self::Settings, Self::Secrets, Self::Files, Self::Tokenizer];

    /// What it is called in a refusal.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Secrets => "credentials (API key, headers)",
            Self::Files => "input files",
            Self::Tokenizer => "tokenizer files",
        }
    }
}

/// One of the things that make up a [`Common`]: a setting, or a file that one names.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Item {
    /// What it is called in a refusal; empty where it has no name of its own.
    pub name: String,
    /// Its digest.
    pub digest: Digest,
}

/// What ends when somebody stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Scope {
    /// The run; others of its series may follow.
    Run,
    /// The run, and all that would follow.
    Series,
}

/// What a shard says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum FromShard {
    /// Asks for the leader's time. `t0` is the shard's own, in nanoseconds.
    Ping {
        /// When the shard sent this, by its own clock.
        t0: u64,
    },
    /// It has taken the run: what it says from now on is of that one.
    Taken,
    /// Names what it has of something that all must have alike.
    Has {
        /// Of what.
        common: Common,
        /// The digest of each part of it.
        items: Vec<Item>,
    },
    /// It could begin this step of the run now.
    Ready {
        /// Steps count from 0: a run with warmup has two.
        step: u32,
        /// What all are to do in it, if this shard decides that; in a form that the caller knows.
        what: String,
    },
    /// It will begin the step at the instant that it was given.
    Armed {
        /// The step.
        step: u32,
    },
    /// It is there, and this is how far it has come.
    Beat(Beat),
    /// What came of a step, or a piece of it, for the leader's process.
    Found {
        /// The step.
        step: u32,
        /// In a form that the caller knows.
        piece: Vec<u8>,
        /// There is no more of it.
        last: bool,
    },
    /// Everybody is to stop.
    Stop {
        /// Why, in words.
        why: String,
        /// What is to end.
        scope: Scope,
    },
    /// Its part of the run is over and its files are written.
    Done(Done),
    /// A piece of a file, compressed.
    File {
        /// Which, by its place in [`Run::files`].
        file: u16,
        /// The piece.
        chunk: Vec<u8>,
    },
    /// A file is complete.
    FileEnd {
        /// Which, by its place in [`Run::files`].
        file: u16,
        /// Its length before compression.
        bytes: u64,
        /// Its digest before compression.
        digest: Digest,
    },
    /// All its files are sent.
    Shipped,
    /// It has not this file, and asks for it.
    Wants {
        /// Which, by its place in [`Run::inputs`].
        input: u16,
    },
    /// The leader may send this many bytes of inputs more.
    Room {
        /// Bytes of chunks.
        bytes: u32,
    },
}

/// What a leader says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum FromLeader {
    /// The shard cannot take part. First of all, so that any version can read it.
    Refuse {
        /// Why, in one line.
        why: String,
    },
    /// The run.
    Run(Box<Run>),
    /// The leader's time.
    Pong {
        /// When the shard sent its question, by the shard's clock.
        t0: u64,
        /// When the leader received it, by the leader's clock.
        t1: u64,
        /// When the leader answered.
        t2: u64,
    },
    /// The step begins.
    Start {
        /// The step.
        step: u32,
        /// When, by the leader's clock in nanoseconds.
        zero: u64,
        /// What is to be done in it, where a shard has decided that.
        what: String,
    },
    /// The run ends now.
    Stop {
        /// Why, in words.
        why: String,
    },
    /// The shard may send this many bytes of its files more.
    Credit {
        /// Bytes of chunks.
        bytes: u32,
    },
    /// The shard's results are at home. Another run may follow.
    Home,
    /// The shard's results are at home: it may leave.
    Bye,
    /// A piece of a file that the shard has asked for, compressed.
    Input {
        /// Which, by its place in [`Run::inputs`].
        input: u16,
        /// The piece.
        chunk: Vec<u8>,
    },
    /// Such a file is complete.
    InputEnd {
        /// Which, by its place in [`Run::inputs`].
        input: u16,
        /// Its length before compression.
        bytes: u64,
        /// Its digest before compression.
        digest: Digest,
    },
    /// Such a file cannot be sent.
    NoInput {
        /// Which, by its place in [`Run::inputs`].
        input: u16,
        /// Why, in words.
        why: String,
    },
}

/// A file that the settings name, which a shard may have of the leader.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Input {
    /// The flag that names it.
    pub flag: String,
    /// The end of its path: what follows the last dot may say how it is read.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its digest.
    pub digest: Digest,
    /// Why it is not sent, if it is not.
    pub stays: Option<String>,
}

/// Everything that a shard needs for its part of a run, besides its own credentials.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Run {
    /// Names the run in all files.
    pub run_id: String,
    /// How many shards there are.
    pub shards: u32,
    /// The settings in a form that the caller knows.
    pub settings: String,
    /// The seed, which one process draws for all.
    pub seed: u64,
    /// The user has given it, so that another run may have it too.
    pub seed_is_given: bool,
    /// What all must have alike, as far as the leader knows it.
    pub common: Vec<(Common, Vec<Item>)>,
    /// Keeps the ids of requests apart from those of other runs.
    pub id_key: u64,
    /// Goes into the hash of the credentials.
    pub salt: [u8; 32],
    /// Stands in a file of the run's folder at the leader: a shard that finds it in its own folder
    /// need not send its files.
    pub folder_mark: String,
    /// An instant of the leader's clock, in nanoseconds.
    pub wall_stamp: u64,
    /// The leader's wall time at that instant, in nanoseconds of the Unix epoch.
    pub wall_unix: u64,
    /// Files of a shard's folder that are sent home, by name.
    pub files: Vec<String>,
    /// What the shards do together.
    pub deed: Deed,
    /// Files that the settings name, as the leader has them.
    pub inputs: Vec<Input>,
    /// Which of several runs it is, where others may follow.
    pub series: Option<InSeries>,
}

/// What shards do together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Deed {
    /// They send the phases of a run.
    Profile,
    /// They send the waves that the first of them decides, one after the other.
    CancelTest,
}

impl Deed {
    /// The command that does it.
    pub const fn command(self) -> &'static str {
        match self {
            Self::Profile => "profile",
            Self::CancelTest => "cancel-test",
        }
    }
}

/// The place of a run among others that the same shards make, one after the other.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct InSeries {
    /// Its folder below that of the series, its parts parted by `/`.
    pub folder: String,
    /// What its files say of its place, in a form that the caller knows.
    pub part: String,
}

/// How many requests there were.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Tally {
    /// Begun.
    pub due: u64,
    /// Answered.
    pub finished: u64,
    /// Failed.
    pub failed: u64,
    /// Cancelled as planned.
    pub cancelled: u64,
    /// Dropped at the end.
    pub dropped: u64,
}

impl Tally {
    /// None at all.
    pub const ZERO: Self = Self {
        due: 0,
        finished: 0,
        failed: 0,
        cancelled: 0,
        dropped: 0,
    };

    /// Adds another one.
    pub const fn add(&mut self, other: &Self) {
        self.due += other.due;
        self.finished += other.finished;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.dropped += other.dropped;
    }

    /// Requests that have not ended.
    pub const fn in_flight(&self) -> u64 {
        let ended = self.finished + self.failed + self.cancelled + self.dropped;
        self.due.saturating_sub(ended)
    }
}

/// How the answers of the measurement are, by what is in them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Answers {
    /// Requests that have ended, failed or not.
    pub ended: u64,
    /// Those that have failed: an answer that came whole may say that too.
    pub failed: u64,
}

impl Answers {
    /// None at all.
    pub const NONE: Self = Self {
        ended: 0,
        failed: 0,
    };
}

/// A sign of life.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize, Deserialize)]
pub struct Beat {
    /// The step that it is in, once one has begun.
    pub step: Option<u32>,
    /// Requests of that step.
    pub tally: Tally,
    /// How the answers of the measurement are.
    pub answers: Answers,
    /// What the shard knows of the leader's clock.
    pub clock: Option<crate::clock::Estimate>,
}

impl Beat {
    /// That of a shard that has not begun.
    pub const NONE: Self = Self {
        step: None,
        tally: Tally::ZERO,
        answers: Answers::NONE,
        clock: None,
    };
}

/// How a shard's part has ended.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
pub struct Done {
    /// Requests of the measurement.
    pub tally: Tally,
    /// What went wrong at the shard itself, in words.
    pub trouble: Option<String>,
    /// Its files lie in the leader's folder already.
    pub shared: bool,
}
