//! Values of fields: such as clients send, and such as nobody should.

use serde_json::{Value, json};

use super::{dice::Dice, endpoints::Kind, world::World};

/// Texts that somebody's parser trips over.
const TEXTS: &[&str] = &[
    "",
    " ",
    "a",
    "\u{0}",
    "a\u{0}b",
    "../../etc/passwd",
    "..",
    ".",
    "/",
    "//",
    "a/../../b",
    "%2e%2e%2f",
    "%00",
    "%",
    "%zz",
    "null",
    "NaN",
    "Infinity",
    "-1",
    "0",
    "1e309",
    "0x10",
    "true",
    "[]",
    "{}",
    "'",
    "\"",
    "`",
    "\\",
    "'; DROP TABLE runs; --",
    "a|b",
    "a\nb",
    "\u{202e}abc",
    "\u{feff}",
    "ünï🥊",
    "日本",
    "\u{fffd}",
    "${x}",
    "{{x}}",
    "<script>",
    "k:v",
    "models:/",
    "v1",
    "latest",
    "LATEST",
    "9223372036854775808",
    "-9223372036854775809",
    "m-",
    "tr-",
    "file:///etc/passwd",
    "http://127.0.0.1:1/",
    "s3://b/../..",
];

const NUMBERS: &[&str] = &[
    "0",
    "-0",
    "-0.0",
    "1",
    "-1",
    "1.5",
    "1e308",
    "1e309",
    "-1e309",
    "5e-324",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551615",
    "1e400",
    "123456789012345678901234567890",
    "0.1",
    "2147483648",
    "50000",
    "50001",
];

/// Longer than a name in a file system.
const LONG: &str = concat!(
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
);

const ENTITIES: &[&str] = &[
    "metrics",
    "metric",
    "params",
    "parameter",
    "tags",
    "tag",
    "attributes",
    "attr",
    "run",
    "dataset",
    "datasets",
    "",
    "nothing",
    "METRICS",
];
const KEYS: &[&str] = &[
    "loss",
    "`val loss`",
    "\"a b\"",
    "name",
    "status",
    "start_time",
    "run_id",
    "run_name",
    "version_number",
    "creation_time",
    "`",
    "\"",
    "mlflow.runName",
    "",
    "digest",
    "context",
    "source_path",
    "*",
    "k.k.k",
    "end_time",
    "experiment_id",
];
const COMPARATORS: &[&str] = &[
    "=",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "LIKE",
    "ILIKE",
    "IN",
    "NOT IN",
    "IS NULL",
    "IS NOT NULL",
    "==",
    "<>",
    "like",
    "~",
    "",
];
const OPERANDS: &[&str] = &[
    "'a'",
    "\"a\"",
    "1",
    "-1.5",
    "1e999",
    "NaN",
    "'%'",
    "'_%_'",
    "'%%%%%%%%%%%%%%%%%%%%a'",
    "('a', 'b')",
    "(1, 2)",
    "()",
    "('a'",
    "'",
    "''",
    "'it''s'",
    "'\\'",
    "null",
    "true",
    "99999999999999999999",
    "'FINISHED'",
    "",
    "'\u{0}'",
    "((('a')))",
];

/// A value of a kind; `sanity` percent of them are such as a client sends.
pub(super) fn value(kind: Kind, world: &World, dice: &mut Dice, sanity: usize) -> Value {
    if !dice.chance(sanity) {
        return hostile(dice);
    }
    let list = |item: &mut dyn FnMut(&mut Dice) -> Value, dice: &mut Dice| {
        (0..dice.below(4)).map(|_| item(dice)).collect::<Value>()
    };
    match kind {
        Kind::Experiment => world.one("experiment_id", dice).into(),
        Kind::Run => world.one("run_id", dice).into(),
        Kind::Model => world.one("model_id", dice).into(),
        Kind::Trace => world.one("trace_id", dice).into(),
        Kind::Traced => {
            let location = json!({"mlflow_experiment": {"experiment_id": inner(Kind::Experiment, world, dice)}});
            let assessments = list(&mut |dice| inner(Kind::Assessed, world, dice), dice);
            json!({"trace_info": {"trace_id": inner(Kind::Trace, world, dice), "trace_location": location, "state": "OK",
                "request_time": "2026-01-01T00:00:00Z", "tags": {"a": "b"}, "assessments": assessments}})
        }
        Kind::Assessment => world.one("assessment_id", dice).into(),
        Kind::Assessed => {
            let (value, metadata) = (inner(Kind::Number, world, dice), inner(Kind::Pairs, world, dice));
            json!({"assessment_name": inner(Kind::Key, world, dice), "rationale": inner(Kind::Text, world, dice), "metadata": metadata,
                dice.word(&["feedback", "expectation"]): {"value": value}, "overrides": if dice.chance(20) { inner(Kind::Assessment, world, dice) } else { "".into() }})
        }
        Kind::Mask => dice.word(&["feedback", "rationale,metadata", "assessmentName", "valid"]).to_string().into(),
        Kind::Name => world.one("name", dice).into(),
        Kind::Token => world.one("next_page_token", dice).into(),
        Kind::Version => dice.word(&["1", "2", "3", "99"]).to_string().into(),
        Kind::Experiments => list(&mut |dice| world.one("experiment_id", dice).into(), dice),
        Kind::Runs => list(&mut |dice| world.one("run_id", dice).into(), dice),
        Kind::Key => dice.word(&["loss", "a/b", "val loss", "lr", "x.y-z:w", "best"]).to_string().into(),
        Kind::Text => dice.word(&["text", "", "0.1", "{\"a\": 1}"]).to_string().into(),
        Kind::Number => number(dice),
        Kind::Count => dice.of(&[1, 2, 5, 100, 1_000]).to_owned().into(),
        Kind::Time => (dice.next() as i64 >> dice.below(64)).into(),
        Kind::Filter => filter(dice).into(),
        Kind::OrderBy => list(&mut |dice| order(dice).into(), dice),
        Kind::ModelOrderBy => list(&mut |dice| json!({"field_name": order(dice), "ascending": dice.chance(50)}), dice),
        Kind::View => dice.word(&["ACTIVE_ONLY", "DELETED_ONLY", "ALL"]).to_string().into(),
        Kind::Status => {
            dice.word(&["RUNNING", "FINISHED", "FAILED", "KILLED", "SCHEDULED", "ACTIVE"]).to_string().into()
        }
        Kind::ModelStatus => dice.word(&["LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED"]).to_string().into(),
        Kind::Stage => dice.word(&["Production", "staging", "Archived", "None"]).to_string().into(),
        Kind::Flag => dice.chance(50).into(),
        Kind::Path => path(dice).into(),
        Kind::Source => dice
            .word(&["mlflow-artifacts:/0/a/artifacts", "s3://bucket/x", "runs:/a/b", "http://h/x"])
            .to_string()
            .into(),
        Kind::Metrics => {
            let metric = &mut |dice: &mut Dice| {
                let (key, value) = (inner(Kind::Key, world, dice), inner(Kind::Number, world, dice));
                let (timestamp, step) = (inner(Kind::Time, world, dice), inner(Kind::Time, world, dice));
                json!({"key": key, "value": value, "timestamp": timestamp, "step": step})
            };
            if dice.chance(1) { (0..1_001).map(|_| metric(dice)).collect() } else { list(metric, dice) }
        }
        Kind::Pairs => list(
            &mut |dice| json!({"key": inner(Kind::Key, world, dice), "value": inner(Kind::Text, world, dice)}),
            dice,
        ),
        Kind::Datasets => list(
            &mut |dice| {
                let dataset = json!({"name": inner(Kind::Name, world, dice), "digest": inner(Kind::Key, world, dice), "source_type": "s", "source": "t"});
                json!({"dataset": dataset, "tags": [{"key": inner(Kind::Key, world, dice), "value": "v"}]})
            },
            dice,
        ),
        Kind::Outputs => list(
            &mut |dice| json!({"model_id": inner(Kind::Model, world, dice), "step": inner(Kind::Time, world, dice)}),
            dice,
        ),
        Kind::Events => json!([{"entity": "REGISTERED_MODEL", "action": "CREATED"}]),
    }
}

/// A value within another.
fn inner(kind: Kind, world: &World, dice: &mut Dice) -> Value {
    value(kind, world, dice, 92)
}

fn number(dice: &mut Dice) -> Value {
    match dice.below(4) {
        0 => dice.word(&["NaN", "Infinity", "-Infinity", "1e3"]).to_string().into(),
        1 => (dice.next() as i64).into(),
        _ => json!(f64::from_bits(dice.next())),
    }
}

/// A value of any type.
fn hostile(dice: &mut Dice) -> Value {
    match dice.below(16) {
        0 => Value::Null,
        1 => dice.chance(50).into(),
        2 | 3 => serde_json::from_str(dice.word(NUMBERS)).unwrap_or(Value::Null),
        4 => json!([dice.word(TEXTS)]),
        5 => json!({dice.word(TEXTS): dice.word(TEXTS)}),
        6 => json!([]),
        7 => json!({}),
        8 => dice.word(TEXTS).repeat(1 + dice.below(600)).into(),
        9 => nested(2 + dice.below(100)),
        10 => String::from_utf8_lossy(&(0..dice.below(40)).map(|_| dice.next() as u8).collect::<Vec<_>>())
            .into_owned()
            .into(),
        11 => Value::Array((0..dice.below(300)).map(|_| json!(dice.word(TEXTS))).collect()),
        _ => (dice.word(TEXTS)).into(),
    }
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(json!(1), |value, level| if level % 2 == 0 { json!([value]) } else { json!({"a": value}) })
}

/// A filter of clauses that are often half right.
pub(super) fn filter(dice: &mut Dice) -> String {
    let mut text = String::new();
    for number in 0..1 + dice.below(3) {
        if number > 0 {
            text += dice.word(&[" and ", " AND ", " or ", " ", "\n", ";", " AND NOT "]);
        }
        let (entity, key) = (dice.word(ENTITIES), dice.word(KEYS));
        let dot = if entity.is_empty() { "" } else { "." };
        text += &format!("{entity}{dot}{key} {} {}", dice.word(COMPARATORS), dice.word(OPERANDS));
    }
    match dice.below(12) {
        0 => text.replace(' ', ""),
        1 => format!("({text})"),
        2 => text.chars().filter(|_| !dice.chance(10)).collect(),
        3 => format!("{text} {}", dice.word(TEXTS)),
        4 => "(".repeat(1 + dice.below(5_000)) + &text,
        5 => vec![text; 1 + dice.below(100)].join(" AND "),
        _ => text,
    }
}

fn order(dice: &mut Dice) -> String {
    let (entity, key) = (dice.word(ENTITIES), dice.word(KEYS));
    let dot = if entity.is_empty() { "" } else { "." };
    format!("{entity}{dot}{key}{}", dice.word(&["", " ASC", " DESC", " desc", " UP", " ASC DESC", ","]))
}

/// A path of artifacts.
pub(super) fn path(dice: &mut Dice) -> String {
    let part = |dice: &mut Dice| {
        dice.word(&[
            "a", "b.txt", "..", ".", "", "%2e%2e", "%2f", "..%2f", "a b", "ü", "%00", "C:", "\\", "...", "~", LONG,
        ])
    };
    (0..1 + dice.below(5)).map(|_| part(dice)).collect::<Vec<_>>().join("/")
}
