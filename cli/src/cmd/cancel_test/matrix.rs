//! `cancel-test --matrix`: every trigger and every way of leaving on every endpoint that the server
//! has, a small test each, one table.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, anyhow, bail, ensure};
use pinfire_analysis::reclaim::{
    ReclaimReport,
    matrix::{Cell, Matrix, Place, Probed, html},
};
use pinfire_artifacts::{
    CANCEL_MATRIX, FileNames, RESOLVED_CONFIG, RunFolder, json_bytes, read_json, replace,
};
use pinfire_base::{
    clock::{Span, Stamp},
    record::{CancelTrigger, Trigger},
};
use pinfire_config::{
    Get, Sourced,
    numbers::Tokens,
    setting::{Listed, Setting},
    words::{CancelMode, OnOff},
};
use pinfire_dialect::{ENDPOINTS, EndpointKind};
use pinfire_scrape::ServerKinds;

use super::{
    ask::{Ask, as_config, command_line, server_kinds},
    folder::Folder,
    waves::Test,
};
use crate::{
    args::CancelTest,
    cancellation,
    reclaim::Requester,
    run::{PreparedRun, ReachableServers, ReusedEngine, dataset, signals::Interrupt},
    settings::Settings,
    terminal::{say, stdout},
};

/// Where requests are left, in the order in which they come to it.
const TRIGGERS: [CancelTrigger; 7] = [
    CancelTrigger::At(Trigger::Connect),
    CancelTrigger::At(Trigger::MidBody),
    CancelTrigger::At(Trigger::Sent),
    CancelTrigger::At(Trigger::Headers),
    CancelTrigger::At(Trigger::FirstToken),
    CancelTrigger::At(Trigger::Tokens(2)),
    CancelTrigger::Fraction(0.5),
];
/// How.
const MODES: [CancelMode; 4] = [
    CancelMode::Fin,
    CancelMode::Rst,
    CancelMode::HalfClose,
    CancelMode::Stall,
];
/// Statuses of a server that does not have an endpoint.
const NOT_SERVED: [u16; 3] = [404, 405, 501];
/// What a cell takes besides its requests: rest before and behind it.
const REST_S: f64 = 0.1;

/// An answer is to last so long, in seconds, but is not made longer than so many times.
const LASTS_S: f64 = 0.08;
const MOST_TIMES: u32 = 16;

/// How the answers of a group come, in the name of its folder.
const STREAM: &str = "stream";
const WHOLE: &str = "whole";

/// Cells of one endpoint whose answers come in one way: they share a run.
struct Group {
    kind: EndpointKind,
    asks: Vec<Ask>,
}

impl Group {
    /// The name of its folder.
    fn name(&self) -> String {
        let streaming = self.asks.first().is_some_and(|ask| ask.streaming);
        let answers = if streaming { STREAM } else { WHOLE };
        format!("{}-{answers}", self.kind.name())
    }

    /// All that makes sense, narrowed to what the flags name.
    fn all(flags: &CancelTest) -> Result<Vec<Self>> {
        let one = flags.endpoint_type.as_ref().map(|kind| kind.value);
        if one.is_some() {
            Ask::of(flags)?;
        }
        let trigger = flags.request_cancellation_trigger.get();
        let triggers = trigger.map_or_else(|| TRIGGERS.to_vec(), |one| vec![one]);
        let mode = flags
            .request_cancellation_mode
            .as_ref()
            .map(|mode| mode.value);
        let modes = mode.map_or_else(|| MODES.to_vec(), |one| vec![one]);
        // Those without a path are whatever the user makes of them.
        let kinds = ENDPOINTS.iter().filter(|row| match one {
            Some(kind) => row.kind == kind,
            None => !row.path.is_empty(),
        });
        let mut groups = Vec::new();
        for row in kinds {
            for (streaming, named) in [(true, OnOff::On), (false, OnOff::Off)] {
                if (streaming && !row.streams)
                    || flags.streaming.is_some_and(|asked| asked != named)
                {
                    continue;
                }
                let mut asks = Vec::new();
                for &trigger in &triggers {
                    for &mode in &modes {
                        let ask = Ask {
                            kind: row.kind,
                            streaming,
                            trigger: Some(trigger),
                            mode,
                        };
                        let config = as_config(flags, &ask);
                        if cancellation::decide(&config, row.kind, streaming).is_ok() {
                            asks.push(ask);
                        }
                    }
                }
                groups.push(Self {
                    kind: row.kind,
                    asks,
                });
            }
        }
        groups.retain(|group| !group.asks.is_empty());
        ensure!(
            !groups.is_empty(),
            "--matrix: these flags leave no cell; leave out --request-cancellation-trigger, --streaming or \
             --endpoint-type"
        );
        Ok(groups)
    }
}

/// So many tokens that an answer lasts, where one of `osl` took so many seconds: for samples to
/// fall into it.
fn long_enough(osl: Tokens, took: f64) -> Tokens {
    let mut times = 1..MOST_TIMES;
    let enough = times.find(|times| f64::from(*times) * took >= LASTS_S);
    Tokens::new(osl.get().saturating_mul(enough.unwrap_or(MOST_TIMES)))
}

fn place(ask: &Ask) -> Place {
    Place {
        endpoint: ask.kind.name().to_owned(),
        streaming: ask.streaming,
        trigger: ask
            .trigger
            .map_or_else(String::new, |trigger| trigger.to_string()),
        mode: ask.mode.shown(),
    }
}

/// Where the matrix is kept while it grows.
struct Kept {
    path: PathBuf,
    folder: Option<RunFolder>,
}

impl Kept {
    /// The folder, locked, or the file.
    fn of(flags: &CancelTest) -> Result<Self> {
        if let Some(folder) = flags.folder()? {
            let folder = RunFolder::create(&folder)?;
            if flags.resume.is_none() {
                folder.clear(&FileNames::default())?;
                Self::clear_groups(&folder)?;
            }
            return Ok(Self {
                path: folder.path().join(CANCEL_MATRIX),
                folder: Some(folder),
            });
        }
        let path = flags.output.clone();
        let path = path.unwrap_or_else(|| PathBuf::from(CANCEL_MATRIX));
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("--output {}", path.display()))?;
        }
        Ok(Self { path, folder: None })
    }

    /// A folder for the requests of a group, in that of the matrix: `chat-stream`. One that a
    /// matrix was begun in before is left as it is.
    fn of_group(&self, group: &Group) -> Option<PathBuf> {
        let folder = self.folder.as_ref()?.path();
        let name = group.name();
        let mut names =
            std::iter::once(name.clone()).chain((2_u32..).map(|again| format!("{name}-{again}")));
        let free = names.find(|name| !folder.join(name).join(RESOLVED_CONFIG).exists())?;
        Some(folder.join(free))
    }

    /// Takes away what an earlier matrix has left in the folders of its groups.
    fn clear_groups(folder: &RunFolder) -> Result<()> {
        for entry in std::fs::read_dir(folder.path())?.filter_map(Result::ok) {
            let name = entry.file_name();
            let of_group = |name: &str| {
                let (kind, rest) = name.split_once('-')?;
                let answers = rest.split('-').next()?;
                let known = ENDPOINTS.iter().any(|row| row.name == kind);
                (known && [STREAM, WHOLE].contains(&answers)).then_some(())
            };
            if entry.path().is_dir() && name.to_str().and_then(of_group).is_some() {
                let old = RunFolder::create(&entry.path())?;
                old.clear(&FileNames::default())?;
            }
        }
        Ok(())
    }

    /// What was found before, if it is to be gone on with.
    fn resumed(&self, flags: &CancelTest, asked: &str) -> Result<Vec<Cell>> {
        if flags.resume.is_none() {
            return Ok(Vec::new());
        }
        let shown = self.path.display();
        ensure!(
            self.path.is_file(),
            "--resume: there is no {shown}; leave --resume out to begin"
        );
        let before: Matrix = read_json(&self.path)?;
        ensure!(
            before.asked == asked,
            "--resume: {shown} was begun as `{}`, and this is `{asked}`: give the same flags, or begin anew \
             without --resume",
            before.asked
        );
        Ok(before.cells)
    }

    /// Writes the matrix as it stands.
    fn store(&self, matrix: &mut Matrix) -> Result<()> {
        matrix.sum_up();
        Ok(replace(&self.path, &json_bytes(matrix))?)
    }

    /// Writes the pages, and what else was asked for.
    fn finish(self, flags: &CancelTest, matrix: &Matrix) -> Result<()> {
        let value = serde_json::from_slice(&json_bytes(matrix))?;
        let page = html(&value).map_err(|error| anyhow!(error))?;
        let beside = self.path.with_extension("html");
        replace(&beside, page.as_bytes())?;
        say::line(format_args!(
            "Report: {}, as a page: {}",
            self.path.display(),
            beside.display()
        ));
        if let Some(folder) = self.folder {
            folder.check([self.path.as_path(), beside.as_path()])?;
            if let Some(output) = &flags.output {
                replace(output, &json_bytes(&value))?;
            }
        }
        Ok(())
    }
}

/// Runs the matrix. The exit code is that of its worst cell.
///
/// # Errors
/// Anything that keeps it from being carried out.
pub fn run(flags: &CancelTest) -> Result<ExitCode> {
    let groups = Group::all(flags)?;
    let kinds = server_kinds(flags.release_profile.as_deref())?;
    let ask = Ask {
        trigger: None,
        ..groups[0].asks[0]
    };
    let asked = command_line(flags, &ask);
    let kept = Kept::of(flags)?;
    let cells = kept.resumed(flags, &asked)?;
    let interrupt = Interrupt::watch()?;
    let mut maker = Maker {
        flags,
        kinds: &kinds,
        interrupt: &interrupt,
        engine: ReusedEngine::default(),
        table: Table {
            flags,
            kept,
            begun: Stamp::now(),
            matrix: Matrix {
                url: flags.url.to_string(),
                asked,
                endpoints: Vec::new(),
                cells,
                left: Vec::new(),
                summary: String::new(),
                exit_code: 0,
            },
        },
    };
    let groups = maker.probe(groups)?;
    maker.announce(&groups);
    maker.table.begun = Stamp::now();
    let carried_out = maker.carry_out(groups);
    let Table {
        kept, mut matrix, ..
    } = maker.table;
    matrix.sum_up();
    stdout::plain(&format!("\n{}", matrix.page()));
    kept.finish(flags, &matrix)?;
    carried_out.map(|()| ExitCode::from(matrix.exit_code))
}

/// A matrix in the making.
struct Maker<'a> {
    flags: &'a CancelTest,
    kinds: &'a ServerKinds,
    interrupt: &'a Interrupt,
    engine: ReusedEngine,
    table: Table<'a>,
}

/// What was found so far, and where it is kept.
struct Table<'a> {
    flags: &'a CancelTest,
    kept: Kept,
    begun: Stamp,
    matrix: Matrix,
}

/// A group whose endpoint is there, and how long a request takes.
type Served = (Group, f64);

impl Maker<'_> {
    /// Sends one request to each endpoint; gives the groups of those that answer, with how long a
    /// request took. Notes the others.
    fn probe(&mut self, groups: Vec<Group>) -> Result<Vec<Served>> {
        let mut served: Vec<Served> = Vec::new();
        for group in groups {
            let name = group.kind.name();
            let known = self
                .table
                .matrix
                .endpoints
                .iter()
                .find(|one| one.endpoint == name);
            if let Some(known) = known {
                let took = served.last().map_or(0.0, |(_, took)| *took);
                if known.served {
                    served.push((group, took));
                }
                continue;
            }
            let (said, took) = self.ask_once(&group.asks[0])?;
            self.table.matrix.endpoints.push(Probed {
                endpoint: name.to_owned(),
                served: said.is_none(),
                said: said.clone(),
            });
            match said {
                None => served.push((group, took)),
                Some(said) => say::line(format_args!("{name}: not served ({said})")),
            }
        }
        Ok(served)
    }

    /// One request: what is wrong with the answer, and how long it took in seconds.
    fn ask_once(&mut self, ask: &Ask) -> Result<(Option<String>, f64)> {
        let settings = Settings::new(&as_config(self.flags, ask))?;
        let reachable = ReachableServers::check(&settings, 2)?;
        let dataset = dataset::prepare(&settings)?;
        let mut run = PreparedRun::start(&settings, reachable, dataset, Some(&mut self.engine))?;
        self.interrupt.sending();
        let patience = Span::from_secs_f64(self.flags.canary_timeout);
        let mut requester = Requester::of(&run, patience)?.only_asking_the_first();
        let (canary, status) = requester.ask(&mut run.engine, self.interrupt)?;
        run.end_load(true);
        if canary.refused {
            bail!(
                "cannot tell: {}; start the server, or give --url where it listens",
                canary
                    .problem
                    .as_deref()
                    .unwrap_or("nobody accepts connections")
            );
        }
        let said = match canary.answered {
            true => None,
            false if NOT_SERVED.contains(&status) => Some(format!("status {status}")),
            false => Some(canary.problem.unwrap_or_else(|| format!("status {status}"))),
        };
        Ok((said, canary.took_ms / 1e3))
    }

    /// Says how much there is to do, how long it takes and how long it may take.
    fn announce(&self, groups: &[Served]) {
        let done = self.table.matrix.cells.len();
        let cells: usize = groups.iter().map(|(group, _)| group.asks.len()).sum();
        let each = |(group, took): &Served| group.asks.len() as f64 * (2.0 * took + REST_S);
        let seconds: f64 = groups.iter().map(each).sum();
        let share = cells.saturating_sub(done) as f64 / cells.max(1) as f64;
        say::line(format_args!(
            "cancel-test --matrix of {}: {cells} cells{}, about {:.0} s where everything is let go and {} s \
             more for each cell where it is not; no cell is begun after {} s (--time-limit)",
            self.flags.url,
            if done > 0 {
                format!(", {done} of them done")
            } else {
                String::new()
            },
            seconds * share,
            self.flags.size().settle,
            self.flags.time_limit,
        ));
    }

    /// Runs what was not run yet.
    fn carry_out(&mut self, groups: Vec<Served>) -> Result<()> {
        let asks = groups.iter().flat_map(|(group, _)| &group.asks).map(place);
        self.table.matrix.left = asks
            .filter(|place| self.table.matrix.cell(place).is_none())
            .collect();
        self.table.store()?;
        for (mut group, took) in groups {
            group
                .asks
                .retain(|ask| self.table.matrix.left.contains(&place(ask)));
            if !group.asks.is_empty() && !self.group(&group, took)? {
                break;
            }
        }
        Ok(())
    }

    /// The cells of a group. Whether there is a server and time for more.
    fn group(&mut self, group: &Group, took: f64) -> Result<bool> {
        let ask = group.asks[0];
        let mut config = as_config(self.flags, &ask);
        if self.flags.osl.is_none() && group.kind.row().output_tokens {
            let osl = long_enough(self.flags.size().osl, took);
            config.input.osl = Some(Sourced::derived(Listed::one(osl)));
        }
        let own = self.table.kept.of_group(group);
        config.output.artifact_dir = own.clone().map(Sourced::derived);
        let settings = Settings::new(&config)?;
        let connections = settings.slots().saturating_mul(2);
        let reachable = ReachableServers::check(&settings, connections)?;
        let dataset = dataset::prepare(&settings)?;
        let mut run = PreparedRun::start(&settings, reachable, dataset, Some(&mut self.engine))?;
        let folder = match own {
            Some(_) => {
                let any = Ask {
                    trigger: None,
                    ..ask
                };
                Some(Folder::open(self.flags, &any, &mut run)?)
            }
            None => None,
        };
        let mut test = Test::start(self.flags, ask, self.kinds, run, self.interrupt, None)?;
        let folder = folder.map(|(folder, recording)| {
            test.record(recording);
            folder
        });
        let more = self.table.cells(group, &mut test);
        let recorded = test.recorded();
        test.end();
        if let (Some(folder), Some(recorded)) = (folder, recorded) {
            folder.finish_cells(recorded)?;
        }
        more
    }
}

impl Table<'_> {
    /// Writes it as it stands.
    fn store(&mut self) -> Result<()> {
        self.kept.store(&mut self.matrix)
    }

    /// The cells of a group, one after the other. Whether there is a server and time for more.
    fn cells(&mut self, group: &Group, test: &mut Test<'_>) -> Result<bool> {
        let usual = test.usual()?;
        let mut canary = usual.canary.clone();
        let mut row = Row::default();
        for &ask in &group.asks {
            if Stamp::now().since(self.begun).as_secs_f64() > self.flags.time_limit {
                say::warning(format_args!(
                    "--time-limit {}: {} cells are left; --resume goes on with them",
                    self.flags.time_limit,
                    self.matrix.left.len()
                ));
                return Ok(false);
            }
            let mut run = || -> Result<Cell> {
                let evidence = test.cell(ask, &usual, canary.clone())?;
                if let Some(wave) = evidence.waves.last() {
                    canary = wave.canary.clone();
                }
                Ok(Cell::of(place(&ask), &ReclaimReport::of(&evidence)))
            };
            let mut cell = run()?;
            // A busy machine may have been late. What is bad stays bad.
            if cell.found.is_untold() {
                let before = cell.cancels;
                cell = run()?;
                cell.cancels_before = Some(before);
            }
            row.say(&cell);
            let lost = cell.found.is_lost();
            self.matrix.left.retain(|left| *left != cell.place);
            self.matrix.cells.push(cell);
            self.store()?;
            if lost {
                row.end();
                say::warning("the server answers no more; restart it, and go on with --resume");
                return Ok(false);
            }
        }
        row.end();
        Ok(true)
    }
}

/// One line of progress for the cells of one trigger.
#[derive(Default)]
struct Row {
    name: String,
    words: Vec<String>,
}

impl Row {
    fn say(&mut self, cell: &Cell) {
        let Place {
            endpoint,
            streaming,
            trigger,
            mode,
        } = &cell.place;
        let answers = if *streaming { "stream" } else { "whole" };
        let name = format!("{endpoint}, {answers}, {trigger}");
        if name != self.name {
            self.end();
            self.name = name;
        }
        self.words.push(format!("{mode} {}", cell.word()));
    }

    fn end(&mut self) {
        if !self.words.is_empty() {
            say::line(format_args!("{}: {}", self.name, self.words.join(", ")));
            self.words.clear();
        }
    }
}
