use super::*;

fn refusal(surface: Surface, filter: &str) -> String {
    match Filter::parse(surface, filter) {
        Ok(parsed) => panic!("{filter} is taken: {parsed:?}"),
        Err(failure) => failure.message,
    }
}

/// A run that every filter below should find.
fn run() -> Sample {
    Sample::new("a")
        .with("status", "RUNNING")
        .with("start_time", 1234)
        .with("run_name", "first")
        .with("user_id", "ada")
        .with("artifact_uri", "1/23/4")
        .metric("acc", 0.95)
        .metric("legit name", 0.5)
        .metric("X//Y#$$@&Z", 3.0)
        .metric("accuracy.2.0", 6.0)
        .metric("1a", 2.0)
        .metric("ключ", 2.0)
        .metric("order", -3.0)
        .param("m", "LR")
        .param("p.a.r.a.m", "b")
        .param("hospital", "L'Hosp")
        .param("status", "x")
        .param("key", "it''s")
        .tag("version", "commit-hash")
        .tag("mlflow.source.name", "a notebook")
        .dataset("mnist", "d1", "train")
        .dataset("cifar", "d2", "eval")
}

#[test]
fn what_mlflow_takes_is_taken() {
    let filters = [
        "metric.acc >= 0.94",
        "metric.acc<=100",
        "params.m!='tf'",
        r#"params."m"!="tf""#,
        r#"metric."legit name" >= 0.243"#,
        r#"metrics."X//Y#$$@&Z" = 3"#,
        "`metric`.acc >= 0.1",
        "params.m = 'LR' and metrics.acc < 1e0",
        "params.m = 'LR' metrics.acc > .5",
        "AND params.m = 'LR' AND",
        r#"params.hospital = "L'Hosp""#,
        "params.key = 'it''s'",
        "`tags`.version = 'commit-hash'",
        r#"metrics."accuracy.2.0" > 5"#,
        "metrics.`legit name` > -1.5",
        r#"params."p.a.r.a.m" != "a""#,
        "params.p.a.r.a.m LIKE '_'",
        "params.'m' = 'LR'",
        "metrics.1a > 1",
        "metrics.ключ > 1",
        "metrics.order < -2",
        "params.status='x'",
        "tags.mlflow.source.name ilike 'A NOTE%'",
        "attribute.artifact_uri = '1/23/4'",
        "attribute.start_time >= 1234",
        "created < 1234.5 AND attr.Created = 1234",
        "run.status = 'RUNNING'",
        "status != 'FAILED'",
        r#""run name" = 'first' and attribute.`Run Name` like 'f%'"#,
        "run_id IN ('b', 'a',)",
        r"run_id not in ('b' 'a', 'a\'')",
        "dataset.name = 'mnist' and datasets.context in ('eval', 'x')",
        "tags.version IS NOT NULL and tags.other is null",
        "params.lr IS NULL AND params.m IS NOT NULL",
        "metrics.acc > 0.1\n\tAND\n params.m ILIKE 'lr'",
    ];
    for filter in filters {
        assert_eq!(accepted(Surface::Runs, filter, &[run()]), ["a"], "{filter}");
    }
    assert_eq!(accepted(Surface::Runs, "", &[run()]), ["a"]);
}

#[test]
fn what_does_not_hold_does_not_pass() {
    let filters = [
        "metrics.acc > 0.95",
        "metrics.absent != 1",
        "params.absent != 'x'",
        "tags.absent IS NOT NULL",
        "attributes.end_time != 5",
        "params.m LIKE 'lr'",
        "params.m LIKE 'L'",
        "run_id NOT IN ('a')",
        "dataset.name != 'mnist' AND dataset.name = 'x'",
        "start_time > 1234",
    ];
    for filter in filters {
        assert!(accepted(Surface::Runs, filter, &[run()]).is_empty(), "{filter}");
    }
}

#[test]
fn i5_nan_differs_from_all_and_infinities_compare() {
    let samples = [
        Sample::new("nan").metric("x", f64::NAN),
        Sample::new("inf").metric("x", f64::INFINITY),
        Sample::new("zero").metric("x", -0.0),
        Sample::new("none"),
    ];
    let accepted = |filter: &str| accepted(Surface::Runs, filter, &samples);
    assert_eq!(accepted("metrics.x != 0"), ["nan", "inf"]);
    assert_eq!(accepted("metrics.x >= 0"), ["inf", "zero"]);
    assert_eq!(accepted("metrics.x = 0"), ["zero"]);
    assert_eq!(accepted("metrics.x > 1e308"), ["inf"]);
    assert_eq!(accepted("metrics.x = 1e999"), ["inf"]);
}

#[test]
fn refusals_are_in_mlflow_s_words() {
    let cases = [
        ("metric.acc >= 0.94; metrics.rmse < 1", "Search filter contained multiple expression"),
        ("metrics.a > 1;", "Invalid clause(s) in filter string: ';'"),
        (
            "m.acc >= 0.94",
            "Invalid entity type 'm'. Valid values are ['metric', 'parameter', 'tag', 'attribute', 'dataset']",
        ),
        ("acc >= 0.94", "Invalid attribute key 'acc' specified. Valid keys are '{"),
        ("model >= 'LR'", "Invalid attribute key"),
        ("metrics.A > 0.1 OR params.B = 'LR'", "Invalid clause(s) in filter string: 'OR'"),
        ("metrics.A > 0.1 NAND params.B = 'LR'", "Invalid clause(s) in filter string"),
        ("metrics.A > 0.1 AND (params.B = 'LR')", "Invalid clause(s) in filter string: '(params.B = 'LR')'"),
        ("`metrics.A > 0.1", "Invalid clause(s) in filter string"),
        ("param`.A > 0.1", "Invalid clause(s) in filter string"),
        ("attribute.experiment_id != 1", "Invalid attribute key"),
        ("attribute.lifecycle_stage = 'ACTIVE'", "Invalid attribute key"),
        ("attribute.status = true", "Invalid clause(s) in filter string: 'attribute.status', '=', 'true'"),
        ("dataset.profile = 'num_rows: 10'", "Invalid dataset key 'profile' specified. Valid keys are '{"),
        ("metrics.acc IS NULL", "IS NULL / IS NOT NULL is only supported for tags and params, not for 'metric' 'acc'"),
        ("attribute.status IS NULL", "IS NULL / IS NOT NULL is only supported for tags and params"),
        ("metric.model = 'LR'", "Expected numeric value type for metric. Found 'LR'"),
        ("metrics.a > infinity", "Expected numeric value type for metric. Found infinity"),
        ("metrics.a > NULL", "Expected numeric value type for metric. Found NULL"),
        ("params.acc = 5", "Expected a quoted string value for parameter (e.g. 'my-value'). Got value 5"),
        ("params.a IN ('a')", "Expected a quoted string value for parameter (e.g. 'my-value'). Got value ('a')"),
        ("tags.acc = 5", "Expected a quoted string value for tag"),
        ("1.0 > metrics.acc", "Invalid comparison clause. Expected 'Identifier' found '1.0'"),
        ("1==2", "Invalid comparison clause. Expected 'Identifier' found '1'"),
        ("metrics.val-loss > 1", "Invalid comparison clause. Expected 'Identifier' found 'metrics.val-loss'"),
        ("metrics.loss/train > 1", "Invalid comparison clause. Expected 'Identifier' found 'metrics.loss/train'"),
        ("attribute.status = 1", "Expected a quoted string value for attributes. Got value 1"),
        ("attribute.end_time = '5'", "Expected numeric value type for numeric attribute: end_time. Found '5'"),
        (
            "params.acc = LR",
            "Parameter value is either not quoted or unidentified quote types used for string value LR.",
        ),
        ("params.acc = `LR`", "value is either not quoted or unidentified quote types"),
        ("params.'acc = LR", "Invalid clause(s) in filter string"),
        ("params.acc = 'LR", "Invalid clause(s) in filter string"),
        ("params.acc = LR'", "Invalid clause(s) in filter string"),
        ("params.acc = \"LR'", "Invalid clause(s) in filter string"),
        ("tags.acc = = 'LR'", "Invalid clause(s) in filter string: 'tags.acc', '=', '=', ''LR''"),
        ("attribute.status IS 'RUNNING'", "Invalid clause(s) in filter string"),
        ("params.acc LR !=", "Invalid clause(s) in filter string"),
        ("metric.acc !=", "Invalid clause(s) in filter string"),
        ("foo is null", "Invalid attribute key"),
        ("metrics.a BETWEEN 1 AND 2", "Invalid clause(s) in filter string"),
        ("metrics.abc ~= 1.0", "Invalid comparator '~=' not one of"),
        ("params.abc >= 'x'", "Invalid comparator '>=' not one of"),
        ("tags.abc ~ 'x'", "Invalid comparator '~' not one of"),
        ("status < 'x'", "Invalid comparator '<' not one of"),
        ("start_time LIKE 1234", "Invalid comparator 'LIKE' not one of"),
        ("datasets.name > 'x'", "Invalid comparator '>' not one of"),
        ("params.a RLIKE 'x'", "Invalid comparator 'RLIKE' not one of"),
        ("status IN ('a')", "Only ['run_id'] attributes support comparison with a list of quoted string values."),
        (
            "run_id IN ()",
            "While parsing a list in the query, expected a non-empty list of string values, but got empty list",
        ),
        (
            "run_id IN ('a', 1)",
            "expected string value, punctuation, or whitespace, but got different type in list: ('a', 1)",
        ),
        ("run_id IN ('a' b)", "expected a non-empty list of string values, but got ill-formed list."),
        ("run_id IN ('a'", "Invalid clause(s) in filter string"),
        ("  ", "Invalid filter '  '. Could not be parsed."),
    ];
    for (filter, expected) in cases {
        let message = refusal(Surface::Runs, filter);
        assert!(message.contains(expected), "{filter}: {message}");
    }
}

#[test]
fn experiments_have_attributes_and_tags() {
    let samples = [
        Sample::new("a").with("name", "Exp1").with("experiment_id", 1).with("creation_time", 10).tag("key", "v"),
        Sample::new("b").with("name", "exp2").with("experiment_id", 20).with("creation_time", 20),
    ];
    let accepted = |filter: &str| accepted(Surface::Experiments, filter, &samples);
    assert_eq!(accepted("name LIKE 'Exp%' and attribute.name ILIKE 'e%'"), ["a"]);
    assert_eq!(accepted("name ILIKE 'EXP%'"), ["a", "b"]);
    assert_eq!(accepted("experiment_id = '20'"), ["b"]);
    assert_eq!(accepted("experiment_id IN ('1', '020')"), ["a", "b"]);
    assert_eq!(accepted("experiment_id != '1'"), ["b"]);
    assert_eq!(accepted("creation_time > 10"), ["b"]);
    assert_eq!(accepted("tags.key = 'v'"), ["a"]);
    assert_eq!(accepted("tag.key IS NULL"), ["b"]);
    for (filter, expected) in [
        (
            "attributes.name='x'",
            "Invalid entity type 'attributes'. Valid entity types are ('attribute', 'tag', 'tags')",
        ),
        ("x.y = 'a'", "Invalid entity type 'x'"),
        ("name is null", "IS NULL / IS NOT NULL is only supported for tags, not for attribute 'name'"),
        ("name IN ('a')", "Only ['experiment_id'] attributes support comparison with a list of quoted string values."),
        ("experiment_id = 1", "Expected a quoted string value for attributes. Got value 1"),
        ("experiment_id LIKE '1'", "Invalid comparator for experiment_id: LIKE"),
        ("experiment_id = 'x'", "Invalid experiment_id: 'x'"),
        ("creation_time > 1.5", "Invalid value for numeric attribute 'creation_time': '1.5'"),
        ("creation_time > '5'", "Expected numeric value type for numeric attribute: creation_time. Found '5'"),
        ("name = 'a' or name = 'b'", "Invalid clause(s) in filter string: or"),
    ] {
        let message = refusal(Surface::Experiments, filter);
        assert!(message.contains(expected), "{filter}: {message}");
    }
}

#[test]
fn models_and_their_versions() {
    let samples = [
        Sample::new("a").with("name", "m/1").with("version_number", 1).with("run_id", "r1").with("source_path", "A/B"),
        Sample::new("b").with("name", "m2").with("version_number", 2).with("run_id", "r2").tag("k", "v"),
    ];
    assert_eq!(accepted(Surface::RegisteredModels, "name LIKE 'm%' AND tags.k = 'v'", &samples), ["b"]);
    assert_eq!(accepted(Surface::RegisteredModels, "name IN ('m2', 'm3')", &samples), ["b"]);
    let accepted = |filter: &str| accepted(Surface::ModelVersions, filter, &samples);
    assert_eq!(accepted("version_number > 1"), ["b"]);
    assert_eq!(accepted("version_number = '1'"), ["a"]);
    assert_eq!(accepted("run_id IN ('r1', 'r2') and name != 'm2'"), ["a"]);
    assert_eq!(accepted("source_path = 'A/B'"), ["a"]);
    let cases = [
        ("version_number = 'x'", "Invalid value for numeric attribute 'version_number': 'x'"),
        ("version_number > 1.5", "Invalid value for numeric attribute 'version_number': 1.5"),
        ("version_number LIKE 'x'", "version_number"),
        ("source_path IN ('x')", "Only ['name', 'run_id'] attributes support comparison"),
        ("name = 5", "attributes support comparison with numeric values"),
        ("creation_timestamp > 1", "Invalid attribute key"),
        ("tags.k > 'v'", "Invalid comparator for tag: >"),
        ("tags.k IS NULL", "Invalid comparator for tag: IS NULL"),
    ];
    for (filter, expected) in cases {
        let message = refusal(Surface::ModelVersions, filter);
        assert!(message.contains(expected), "{filter}: {message}");
    }
    let message = refusal(Surface::RegisteredModels, "name = 5");
    assert!(message.contains("Expected a quoted string value or a list of quoted string values for attributes."));
}

#[test]
fn logged_models_take_bare_words() {
    let samples = [
        Sample::new("a").with("name", "net").with("creation_timestamp", 5).param("lr", "0.01").metric("loss", 0.5),
        Sample::new("b").with("name", "tree").with("creation_timestamp", 6).param("lr", "0.1").tag("k", "v"),
    ];
    let accepted = |filter: &str| accepted(Surface::LoggedModels, filter, &samples);
    assert_eq!(accepted("metrics.loss > 0.1 AND params.lr = 0.01"), ["a"]);
    assert_eq!(accepted("params.lr IN ('0.1', '1')"), ["b"]);
    assert_eq!(accepted("name = 'net'"), ["a"]);
    assert_eq!(accepted("creation_time >= 6 and attributes.creation_timestamp < 7"), ["b"]);
    let cases = [
        (
            "param.lr = '1'",
            "Invalid entity type: 'param'. Expected one of ['attributes', 'metrics', 'params', 'tags'].",
        ),
        ("metrics.a > 1 or metrics.b > 1", "Expected a list of comparisons separated by 'AND'"),
        ("experiment = 1", "Invalid attribute key 'experiment'"),
    ];
    for (filter, expected) in cases {
        let message = refusal(Surface::LoggedModels, filter);
        assert!(message.contains(expected), "{filter}: {message}");
    }
}

#[test]
fn i9_filters_are_bounded() {
    let message = refusal(Surface::Runs, &" ".repeat((1 << 20) + 1));
    assert!(message.contains("longer than"), "{message}");
    let message = refusal(Surface::Runs, &"metrics.a > 1 ".repeat(501));
    assert!(message.contains("more than 500 comparisons"), "{message}");
    // What opens a pair and has no end costs no look at the whole text each time.
    assert!(refusal(Surface::Runs, &"(".repeat(1 << 20)).len() < 1_000);
    let pattern = format!("params.a LIKE '{}'", "_".repeat(4_001));
    assert!(refusal(Surface::Runs, &pattern).contains("at most 4000 characters"));
}
