use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;
use stepwell_types::check_artifact_path;

use super::{held, path_of};

#[test]
fn paths_have_one_spelling() {
    for (raw, path) in [
        ("1/r/artifacts/model/MLmodel", "1/r/artifacts/model/MLmodel"),
        ("1//r/./artifacts/", "1/r/artifacts"),
        ("a%20b", "a b"),
        ("a%2520b", "a b"),
        ("a%2Fb", "a/b"),
        ("100%", "100%"),
        ("tab%09", "tab%09"),
        ("..a/b..", "..a/b.."),
        ("ü", "ü"),
    ] {
        assert_eq!(path_of(raw).as_deref(), Ok(path), "{raw}");
    }
}

#[test]
fn no_path_leads_out_however_it_is_spelled() {
    let bad = [
        "..",
        "../x",
        "a/../../b",
        "/etc/passwd",
        "//etc/passwd",
        "a/..",
        "file:///etc/passwd",
        "C:/x",
        "C:\\x",
        "\\\\host\\share\\x",
        "a\\..\\b",
        "a\0b",
        "a#b",
        "a/../b",
    ];
    for path in bad {
        let mut spelled = path.to_owned();
        for times in 0..4 {
            let failure = path_of(&spelled).expect_err(&spelled);
            assert!(failure.message.starts_with("Invalid path"), "{path} encoded {times} times: {failure}");
            spelled = utf8_percent_encode(&spelled, NON_ALPHANUMERIC).to_string();
        }
    }
    for path in ["%ff", "", "/", ".", "./.", "%2e%2e/x", "%252e%252e%252fx", "%00", "a%2500"] {
        assert!(path_of(path).is_err(), "{path}");
    }
    let deep = (0..20).fold("/".to_owned(), |path, _| utf8_percent_encode(&path, NON_ALPHANUMERIC).to_string());
    assert!(path_of(&deep).is_err(), "encoded without end");
}

#[test]
fn uris_of_this_server_are_known_and_others_are_not() {
    for uri in [
        "mlflow-artifacts:/1/r/artifacts",
        "mlflow-artifacts://host:5000/1/r/artifacts",
        "mlflow-artifacts:///1/r/artifacts",
        "https://host/api/2.0/mlflow-artifacts/artifacts/1/r/artifacts",
    ] {
        assert_eq!(held(uri).as_deref(), Ok("1/r/artifacts"), "{uri}");
    }
    for uri in ["s3://bucket/1/r/artifacts", "file:///1", "/1/r", "", "mlflow-artifacts:/1/../r", "https://host/1/r"] {
        assert!(held(uri).is_err(), "{uri}");
    }
}

proptest! {
    /// Whatever is sent: refused, or a path that leads nowhere else and means the same when it is sent again.
    #[test]
    fn what_is_taken_is_safe_and_settled(raw in r"([a.%/\\#:]|%2[ef5F]|\.\.|\PC|[\x00-\x20]){0,24}") {
        if let Ok(path) = path_of(&raw) {
            prop_assert!(check_artifact_path(&path).is_ok());
            prop_assert_eq!(path_of(&path), Ok(path.clone()));
        }
    }
}
