//! `docs/schema`: the layout of a run's files for programs that read them.

use std::path::PathBuf;

use pinfire_artifacts::{
    RequestLine, Summary, calibration::Calibration, leader::LeaderAccount, shard::Shard,
};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;

fn is_written<T: JsonSchema>(name: &str) {
    // What pinfire writes, not all that it can read.
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let schema = settings.into_generator().into_root_schema_for::<T>();
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schema"));
    let path = folder.join(name);
    if std::env::var_os("PINFIRE_UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == text,
        "{name} differs from the types: PINFIRE_UPDATE_GOLDEN=1 cargo test -p pinfire-analysis schema"
    );
}

#[test]
fn the_schema_of_the_summary_is_written() {
    is_written::<Summary>("profile_export_aiperf.schema.json");
}

#[test]
fn the_schema_of_a_calibration_is_written() {
    is_written::<Calibration>("calibration.schema.json");
}

#[test]
fn the_schema_of_a_request_is_written() {
    is_written::<RequestLine<'_>>("profile_export.schema.json");
}

#[test]
fn the_schema_of_a_shard_is_written() {
    is_written::<Shard>("shard.schema.json");
}

#[test]
fn the_schema_of_a_leader_is_written() {
    is_written::<LeaderAccount>("leader.schema.json");
}
