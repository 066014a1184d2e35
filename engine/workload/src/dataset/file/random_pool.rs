//! random_pool: conversations of one turn, each put together from one draw with replacement out of
//! every pool. A file is a pool; a folder has a pool per file, whose name the texts of it get.

use std::path::Path;

use pinfire_base::{limits::BATCH_LINES, random::Purpose};
use pinfire_dialect::ask::{Ask, Content, TurnContent};
use serde_json::{Map, Value};

use super::fault::{Fault, fault, line_fault, listed, piece_fault};
use super::fields::Fields;
use super::folder;
use super::load::Progress;
use super::notes::{Notes, content_row};
use super::pieces::{Lines, Opened, Piece};
use super::sample::{FirstLine, Fit, Sample, check_type};
use super::{DatasetError, FileSpec, turn_content};
use crate::dataset::parallel::{map_each, map_indexed};
use crate::dataset::skipped::Skipped;
use crate::dataset::synthetic::OutputLimits;
use crate::dataset::{Build, Conversation, Dataset, Source};
use crate::text::Warning;

/// Conversations to make when no flag says how many.
const DEFAULT_ENTRIES: usize = 100;

/// Whether every file of a folder begins with a line of a pool, or a file's first line says that it
/// is one.
pub(super) fn fits(sample: &Sample<'_>) -> Fit {
    let line = |first: &Map<String, Value>| {
        turn_content::has_any(first)
            .then(|| Fit::of(item(first.clone(), "", &mut Notes::default())))
    };
    match sample.folder {
        Some(files) => {
            let fits =
                |(_, first): &FirstLine| matches!(first.as_ref().and_then(line), Some(Fit::Yes));
            if files.iter().all(fits) {
                Fit::Yes
            } else {
                Fit::No
            }
        }
        None => match sample.first {
            Some(first) if first.get("type").is_some_and(|name| name == "random_pool") => {
                line(first).unwrap_or(Fit::No)
            }
            _ => Fit::No,
        },
    }
}

pub(super) fn load(
    spec: &FileSpec,
    build: &Build<'_>,
    progress: Progress<'_>,
) -> Result<Dataset, DatasetError> {
    let files = match spec.path.is_dir() {
        true => folder::files(&spec.path, &[])?,
        false => vec![spec.path.clone()],
    };
    let total = folder::size(&files);
    let mut notes = Notes::default();
    let mut skipped = Skipped::default();
    let mut before = 0;
    let mut pools = Vec::new();
    for path in &files {
        let name = match spec.path.is_dir() {
            true => stem(path),
            false => String::new(),
        };
        pools.push(pool(
            path,
            &name,
            build,
            (&mut notes, &mut skipped),
            (progress, before, total),
        )?);
        before += folder::size(std::slice::from_ref(path));
    }
    let draws = Purpose::new(build.seed, "dataset.loader.random_pool");
    let limits = OutputLimits::new(build.seed, spec.osl_mean, spec.osl_stddev);
    let make = |n: usize| {
        let mut draws = draws.at(n as u64);
        let mut drawn = TurnContent::default();
        for pool in &pools {
            merge(&mut drawn, &pool[draws.below(pool.len() as u64) as usize]);
        }
        let ask = Ask {
            max_tokens: limits.at(n),
            ..Ask::of(Content::TurnContent(drawn))
        };
        let turn = build.turn(&build.body(n, ask)?, None, false)?;
        Ok::<_, DatasetError>(Conversation {
            session_id: build.session_id(n),
            turns: vec![turn],
        })
    };
    let count = spec.entries.unwrap_or(DEFAULT_ENTRIES);
    let conversations = map_indexed(count, build.threads, make, &|_, _| {})?;
    Ok(Dataset {
        conversations,
        source: Source::File(spec.format.name),
        warnings: skipped
            .warning()
            .into_iter()
            .chain(warnings(spec, &notes))
            .collect(),
    })
}

fn warnings(spec: &FileSpec, notes: &Notes) -> Vec<Warning> {
    let said = [
        (
            "fields that random_pool does not have are ignored",
            &notes.unknown,
        ),
        (
            "roles that OpenAI's API does not have are sent as they are",
            &notes.roles,
        ),
    ];
    let said = said.into_iter().filter(|(_, names)| !names.is_empty());
    said.map(|(what, names)| {
        Warning(format!(
            "{}: {what}: {}",
            spec.path.display(),
            listed(names)
        ))
    })
    .collect()
}

/// The file's name without its ending.
fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name.rsplit_once('.')
        .map_or(name, |(stem, _)| stem)
        .to_owned()
}

/// The lines of a pool.
fn pool(
    path: &Path,
    name: &str,
    build: &Build<'_>,
    (notes, skipped): (&mut Notes, &mut Skipped),
    (progress, before, total): (Progress<'_>, u64, u64),
) -> Result<Vec<TurnContent>, DatasetError> {
    let mut lines = Lines::new(Opened::new(path)?);
    let mut pool = Vec::new();
    let kib = |bytes: u64| usize::try_from(bytes.div_ceil(1_024)).unwrap_or(usize::MAX);
    loop {
        let mut batch = Vec::new();
        while batch.len() < BATCH_LINES
            && let Some(piece) = lines.next()?
        {
            batch.push(piece);
        }
        if batch.is_empty() {
            break;
        }
        let items = map_each(batch, build.threads, |piece: Piece| {
            let mut notes = Notes::default();
            let read = content_row(&piece, &turn_content::FIELDS, &mut notes);
            let read = read.and_then(|row| row.map(|row| item(row, name, &mut notes)).transpose());
            let found = read.map_err(|fault| piece_fault(path, &piece, fault))?;
            let empty = notes.empty.take();
            let empty = empty.map(|fault| piece_fault(path, &piece, fault));
            Ok::<_, DatasetError>((found, empty, notes))
        })?;
        for (item, empty, found) in items {
            notes.add(found);
            pool.extend(item);
            empty.into_iter().for_each(|row| skipped.note(row));
        }
        progress(kib(before + lines.opened.read()), kib(total));
    }
    if pool.is_empty() {
        if let Some(error) = skipped.error() {
            return Err(error);
        }
        let reason = "is missing: the file is empty, and a pool needs at least one line";
        return Err(line_fault(path, 1, "line", reason.to_owned()));
    }
    Ok(pool)
}

fn item(object: Map<String, Value>, name: &str, notes: &mut Notes) -> Result<TurnContent, Fault> {
    let mut fields = Fields::new(object);
    check_type(&mut fields, "random_pool")?;
    for field in ["timestamp", "delay", "session_id", "output_length"] {
        if fields.has(field) {
            let reason = "does not go with random_pool, whose lines are drawn at random; leave it \
                          out, or use single_turn";
            return fault(field, reason);
        }
    }
    let mut given = turn_content::said(&mut fields, name)?;
    if turn_content::is_empty(&given) {
        return turn_content::nothing();
    }
    given.role = turn_content::role(&mut fields, &mut notes.roles)?;
    fields.rest(&mut notes.unknown);
    Ok(given)
}

/// Adds what was drawn from another pool.
fn merge(drawn: &mut TurnContent, more: &TurnContent) {
    drawn.role = drawn.role.take().or_else(|| more.role.clone());
    drawn.texts.extend(more.texts.iter().cloned());
    drawn.images.extend(more.images.iter().cloned());
    drawn.audios.extend(more.audios.iter().cloned());
    drawn.videos.extend(more.videos.iter().cloned());
    drawn.image_uuids.extend(more.image_uuids.iter().cloned());
}
