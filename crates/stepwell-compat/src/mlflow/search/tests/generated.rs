//! Random filters over random records, against a reading of the rules that knows no parser.

use std::cmp::Ordering;

use proptest::prelude::*;

use super::*;

const KEYS: [&str; 4] = ["a", "b c", "x.y", "ключ"];
const TEXTS: [&str; 5] = ["", "x", "X y", "%_", "it's"];
const NUMBERS: [&str; 6] = ["0", "-1.5", "1e3", "7", ".5", "9007199254740993"];

#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    Metric(&'static str, &'static str, &'static str),
    /// Whether it is a param, or else a tag.
    Text(bool, &'static str, &'static str, &'static str),
    Absent(bool, &'static str, bool),
    RunIds(Vec<String>, bool),
    Start(&'static str, i64),
}

impl Wanted {
    /// The same about runs of these names instead of r0, r1, ….
    pub(crate) fn about(self, names: &[&str]) -> Self {
        let name = |id: &String| {
            let number = id.trim_start_matches('r').parse::<usize>().ok();
            number.and_then(|number| names.get(number)).map_or(id.clone(), |&name| name.to_owned())
        };
        match self {
            Self::RunIds(ids, is_in) => Self::RunIds(ids.iter().map(name).collect(), is_in),
            other => other,
        }
    }

    pub(crate) fn text(&self) -> String {
        let quoted = |text: &str| if text.contains('\'') { format!("\"{text}\"") } else { format!("'{text}'") };
        let entity = |is_param| if is_param { "params" } else { "tags" };
        match self {
            Self::Metric(key, comparator, number) => format!("metrics.`{key}` {comparator} {number}"),
            Self::Text(is_param, key, comparator, text) => {
                format!("{}.\"{key}\" {comparator} {}", entity(*is_param), quoted(text))
            }
            Self::Absent(is_param, key, is_null) => {
                format!("{}.`{key}` IS {}NULL", entity(*is_param), if *is_null { "" } else { "NOT " })
            }
            Self::RunIds(ids, is_in) => {
                let ids: Vec<String> = ids.iter().map(|id| quoted(id)).collect();
                format!("run_id {}IN ({})", if *is_in { "" } else { "NOT " }, ids.join(", "))
            }
            Self::Start(comparator, number) => format!("attributes.start_time {comparator} {number}"),
        }
    }

    pub(crate) fn holds(&self, sample: &Sample) -> bool {
        let text_of = |is_param: bool, key: &str| if is_param { sample.params.get(key) } else { sample.tags.get(key) };
        match self {
            Self::Metric(key, comparator, number) => sample
                .metrics
                .get(*key)
                .is_some_and(|value| by_symbol(comparator, value.partial_cmp(&number.parse::<f64>().unwrap()))),
            Self::Text(is_param, key, comparator, text) => {
                text_of(*is_param, key).is_some_and(|value| match *comparator {
                    "=" => value == text,
                    "!=" => value != text,
                    "LIKE" => like(text.as_bytes(), value.as_bytes()),
                    _ => like(text.to_lowercase().as_bytes(), value.to_lowercase().as_bytes()),
                })
            }
            Self::Absent(is_param, key, is_null) => text_of(*is_param, key).is_none() == *is_null,
            Self::RunIds(ids, is_in) => ids.contains(&sample.name) == *is_in,
            Self::Start(comparator, number) => match sample.attributes.get("start_time") {
                Some(Attribute::Integer(start)) => by_symbol(comparator, Some(start.cmp(number))),
                _ => false,
            },
        }
    }
}

fn by_symbol(symbol: &str, order: Option<Ordering>) -> bool {
    match symbol {
        "<" => order == Some(Ordering::Less),
        "<=" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        "=" => order == Some(Ordering::Equal),
        "!=" => order != Some(Ordering::Equal),
        ">" => order == Some(Ordering::Greater),
        _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    }
}

fn like(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'%', rest)), _) => (0..=text.len()).any(|skipped| like(rest, &text[skipped..])),
        (Some((wanted, rest)), Some((found, others))) => (*wanted == b'_' || wanted == found) && like(rest, others),
        _ => false,
    }
}

pub(crate) fn wanted() -> impl Strategy<Value = Wanted> {
    let key = || proptest::sample::select(KEYS.to_vec());
    let symbol = || proptest::sample::select(vec!["<", "<=", "=", "!=", ">=", ">"]);
    let comparator = proptest::sample::select(vec!["=", "!=", "LIKE", "ILIKE"]);
    prop_oneof![
        (key(), symbol(), proptest::sample::select(NUMBERS.to_vec())).prop_map(|(a, b, c)| Wanted::Metric(a, b, c)),
        (any::<bool>(), key(), comparator, proptest::sample::select(TEXTS.to_vec()))
            .prop_map(|(a, b, c, d)| Wanted::Text(a, b, c, d)),
        (any::<bool>(), key(), any::<bool>()).prop_map(|(a, b, c)| Wanted::Absent(a, b, c)),
        (proptest::collection::vec("r[0-9]", 1..4), any::<bool>()).prop_map(|(ids, is_in)| Wanted::RunIds(ids, is_in)),
        (symbol(), -2i64..3).prop_map(|(symbol, number)| Wanted::Start(symbol, number)),
    ]
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        proptest::sample::select(vec![0.0, -0.0, -1.5, 1e3, 7.0, 0.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]),
        any::<f64>(),
    ]
}

pub(crate) fn sample() -> impl Strategy<Value = Sample> {
    let key = || proptest::sample::select(KEYS.to_vec()).prop_map(str::to_owned);
    let text = || proptest::sample::select(TEXTS.to_vec()).prop_map(str::to_owned);
    let texts = || proptest::collection::btree_map(key(), text(), 0..4);
    let metrics = proptest::collection::btree_map(key(), value(), 0..4);
    ("r[0-9]", proptest::option::of(-2i64..3), metrics, texts(), texts()).prop_map(
        |(name, start, metrics, params, tags)| {
            let mut sample = Sample { metrics, params, tags, ..Sample::new(&name) };
            match start {
                Some(start) => sample.attributes.insert("start_time".to_owned(), start.into()),
                None => sample.attributes.remove("start_time"),
            };
            sample
        },
    )
}

proptest! {
    #[test]
    fn filters_accept_what_the_rules_accept(
        clauses in proptest::collection::vec(wanted(), 0..4),
        samples in proptest::collection::vec(sample(), 0..12),
    ) {
        let text = clauses.iter().map(Wanted::text).collect::<Vec<_>>().join(" AND ");
        let filter = Filter::parse(Surface::Runs, &text).map_err(|failure| TestCaseError::fail(format!("{text}: {failure}")))?;
        for sample in &samples {
            let expected = clauses.iter().all(|clause| clause.holds(sample));
            prop_assert_eq!(filter.accepts(sample), expected, "{} {:?}", text, sample);
        }
    }

    #[test]
    fn orders_leave_no_pair_the_wrong_way_round(
        samples in proptest::collection::vec(sample(), 0..12),
        key in proptest::sample::select(KEYS.to_vec()),
        entity in proptest::sample::select(vec!["metrics", "params", "tags"]),
        is_ascending in any::<bool>(),
    ) {
        let order = format!("{entity}.`{key}` {}", if is_ascending { "ASC" } else { "DESC" });
        let mut records = samples.clone();
        Order::parse(Surface::Runs, &[order]).unwrap().sort(&mut records);
        prop_assert_eq!(records.len(), samples.len());
        for pair in records.windows(2) {
            let texts = |sample: &Sample| match entity {
                "params" => sample.params.get(key).cloned(),
                _ => sample.tags.get(key).cloned(),
            };
            let (first, second) = match entity {
                "metrics" => {
                    let of = |sample: &Sample| sample.metrics.get(key).copied();
                    let (a, b) = (of(&pair[0]), of(&pair[1]));
                    let class = |value: Option<f64>| value.map_or(2, |value| u8::from(value.is_nan()));
                    let by_value = a.partial_cmp(&b).filter(|_| class(a) == 0 && class(b) == 0);
                    (class(a).cmp(&class(b)), by_value.unwrap_or(Ordering::Equal))
                }
                _ => {
                    let (a, b) = (texts(&pair[0]), texts(&pair[1]));
                    let by_value = if a.is_some() && b.is_some() { a.cmp(&b) } else { Ordering::Equal };
                    (a.is_none().cmp(&b.is_none()), by_value)
                }
            };
            let by_key = first.then(if is_ascending { second } else { second.reverse() });
            prop_assert_ne!(by_key, Ordering::Greater, "{:?}", pair);
            if by_key == Ordering::Equal {
                let start = |sample: &Sample| match sample.attributes.get("start_time") {
                    Some(Attribute::Integer(start)) => (0, -start),
                    _ => (1, 0),
                };
                let tie = |sample: &Sample| (start(sample), sample.name.clone());
                prop_assert!(tie(&pair[0]) <= tie(&pair[1]), "{:?}", pair);
            }
        }
    }

    #[test]
    fn no_text_makes_the_parsers_panic(text in "[a-c.`'\"()=<>!;,0-9eE+\\-\\\\ %_é\n]{0,40}|.{0,60}") {
        for surface in [
            Surface::Runs, Surface::Experiments, Surface::RegisteredModels, Surface::ModelVersions, Surface::LoggedModels,
        ] {
            if let Ok(filter) = Filter::parse(surface, &text) {
                filter.accepts(&Sample::new("a"));
            }
            if let Ok(order) = Order::parse(surface, &[&text]) {
                order.sort(&mut vec![Sample::new("a"), Sample::new("b")]);
            }
            let _ = PageToken::parse(Some(&text));
        }
    }
}
