use std::{collections::BTreeMap, path::PathBuf};

use super::{
    ServeFlags, Settings,
    knobs::{self, KNOBS, Kind},
};

fn flags(values: &[(&'static str, &str)]) -> ServeFlags {
    ServeFlags { config: None, values: values.iter().map(|(name, text)| (*name, (*text).to_owned())).collect() }
}

fn resolve(flags: &ServeFlags, environment: &[(&str, &str)]) -> Result<Settings, String> {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Settings::from_layers(flags, environment).map_err(|error| format!("{error:#}"))
}

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stepwell.toml");
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let (_dir, path) = file("data_dir = \"/file\"\nlisten = \"127.0.0.1:1\"\nqueue_bytes = 2000000\n");
    let mut given = flags(&[("data_dir", "/flag")]);
    given.config = Some(path.clone());
    let settings =
        resolve(&given, &[("STEPWELL_DATA_DIR", "/env"), ("STEPWELL_LISTEN", "127.0.0.1:2"), ("HOME", "/x")]).unwrap();
    assert_eq!(settings.data_dir, PathBuf::from("/flag"));
    assert_eq!(settings.listen.port(), 2);
    assert_eq!(settings.memory.queue, 2_000_000);
    assert_eq!(settings.flush_age.as_secs(), 60);
    let by_variable = resolve(&flags(&[]), &[("STEPWELL_CONFIG", path.to_str().unwrap())]).unwrap();
    assert_eq!(by_variable.data_dir, PathBuf::from("/file"));
}

#[test]
fn unknown_keys_and_variables_are_errors_that_name_them() {
    let (_dir, path) = file("data_dir = \"/d\"\nflush_age = 3\n");
    let mut given = flags(&[]);
    given.config = Some(path);
    let error = resolve(&given, &[]).unwrap_err();
    assert!(error.contains("`flush_age`") && error.contains("flush_age_seconds"), "{error}");
    let error = resolve(&flags(&[("data_dir", "/d")]), &[("STEPWELL_QUEUE", "1")]).unwrap_err();
    assert!(error.contains("STEPWELL_QUEUE is unknown"), "{error}");
}

#[test]
fn values_out_of_range_say_the_range_and_where_they_came_from() {
    let error = resolve(&flags(&[("data_dir", "/d"), ("queue_bytes", "7")]), &[]).unwrap_err();
    assert!(error.contains("--queue-bytes") && error.contains("1048576 to"), "{error}");
    let error = resolve(&flags(&[("data_dir", "/d")]), &[("STEPWELL_LOG_FORMAT", "xml")]).unwrap_err();
    assert!(error.contains("STEPWELL_LOG_FORMAT") && error.contains("text or json"), "{error}");
    let error = resolve(&flags(&[]), &[]).unwrap_err();
    assert!(error.contains("`data_dir` is not set"), "{error}");
}

#[test]
fn an_address_others_reach_needs_the_switch() {
    let given = flags(&[("data_dir", "/d"), ("listen", "0.0.0.0:9090")]);
    assert!(resolve(&given, &[]).unwrap_err().contains("--allow-remote"));
    assert!(resolve(&given, &[("STEPWELL_ALLOW_REMOTE", "true")]).is_ok());
}

#[test]
fn defaults_pass_their_own_checks() {
    for knob in KNOBS.iter().filter(|knob| !knob.default.is_empty()) {
        assert_eq!(knob.check(knob.default), Ok(()), "{}", knob.name);
    }
}

#[test]
fn every_knob_changes_something() {
    let base = BTreeMap::from([("data_dir", "/d"), ("listen", "127.0.0.1:9090")]);
    let resolve_with = |name: &'static str, text: &str| {
        let mut given = flags(&base.iter().map(|(k, v)| (*k, *v)).collect::<Vec<_>>());
        given.values.insert(name, text.to_owned());
        resolve(&given, &[])
    };
    let before = resolve(&flags(&[("data_dir", "/d")]), &[]).unwrap();
    // `allow_remote` changes what is accepted, which has a test of its own.
    for knob in KNOBS.iter().filter(|knob| knob.name != "allow_remote") {
        let other = match knob.kind {
            Kind::Path => "/other".to_owned(),
            Kind::Address => "[::1]:1".to_owned(),
            // The smallest, or the next where that is the default.
            Kind::Integer { min, .. } | Kind::Bytes { min, .. } => {
                (min + u64::from(knob.default == min.to_string())).to_string()
            }
            Kind::Word(words) => words[words.len() - 1].to_owned(),
            Kind::Text => "debug".to_owned(),
            Kind::Switch => "true".to_owned(),
        };
        assert_ne!(resolve_with(knob.name, &other).unwrap(), before, "{}", knob.name);
    }
}

#[test]
fn i9_parts_get_shares_of_one_budget_and_may_not_be_more_than_it() {
    let with = |values: &[(&'static str, &str)]| {
        let mut given = flags(values);
        given.values.insert("data_dir", "/d".to_owned());
        resolve(&given, &[])
    };
    let memory = with(&[("memory_bytes", "2147483648")]).unwrap().memory;
    assert_eq!((memory.memtable, memory.queue, memory.query), (256 << 20, 64 << 20, 512 << 20));
    assert_eq!((memory.footers, memory.runs, memory.segments), (128 << 20, 64 << 20, 128 << 20));
    assert_eq!((memory.requests, memory.body_limit, memory.decoded_limit), (384 << 20, 64 << 20, 256 << 20));
    let memory = with(&[("memory_bytes", "1073741824"), ("queue_bytes", "1048576")]).unwrap().memory;
    assert_eq!((memory.memtable, memory.queue), (128 << 20, 1 << 20));
    let error = with(&[("memory_bytes", "1073741824"), ("memtable_bytes", "268435456")]).unwrap_err();
    assert!(error.contains("`memory_bytes` is 1073741824") && error.contains("`memtable_bytes` 268435456"), "{error}");
    let error = with(&[("memory_bytes", "1073741824"), ("body_limit_bytes", "268435456")]).unwrap_err();
    assert!(error.contains("`request_bytes` 201326592"), "{error}");
}

#[test]
fn the_reference_is_current() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../schemas/config.md");
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        std::fs::write(&path, knobs::reference()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == knobs::reference(), "schemas/config.md is out of date: run `cargo xtask schemas`");
}
