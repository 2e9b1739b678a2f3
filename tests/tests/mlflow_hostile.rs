//! MLflow's door under requests that nobody should send: no answer says that the server failed, none fails to come, and what
//! honest clients stored is still there.

use serde_json::json;
use stepwell_tests::{
    Server,
    mlflow::hostile::{GUESSED_EXPERIMENTS, attack},
};

/// How many requests, for who has more time than the test command.
const COUNT_VARIABLE: &str = "STEPWELL_HOSTILE_REQUESTS";
const COUNT_DEFAULT: usize = 4_000;
const SEEDS: u64 = 4;

#[test]
fn i9_no_request_makes_the_server_fail() {
    let count = std::env::var(COUNT_VARIABLE).ok().and_then(|count| count.parse().ok()).unwrap_or(COUNT_DEFAULT);
    let server = Server::start().unwrap();
    for number in 1..GUESSED_EXPERIMENTS {
        server
            .http()
            .post("/api/v1/projects", &json!({"name": format!("other {number}")}))
            .unwrap()
            .expect(201)
            .unwrap();
    }
    let run = json!({"project": "honest", "run_id": "kept", "params": {"lr": 0.1}});
    let kept = server.http().post("/api/v1/runs", &run).unwrap().expect(201).unwrap();
    let project_id = kept["project_id"].as_str().unwrap();
    let points = json!({"step": 1, "metrics": {"loss": 0.5}});
    server.http().post("/api/v1/runs/kept/log", &points).unwrap().expect(200).unwrap();
    for seed in 0..SEEDS {
        let count = count / SEEDS as usize;
        let tally =
            attack(server.url(), seed, count, &[project_id, "kept"]).unwrap_or_else(|error| panic!("{error:#}"));
        println!("seed {seed}: {tally:?}");
        let of_status = |wanted: u16| tally.get(&wanted).copied().unwrap_or(0);
        assert!(of_status(200) > count / 25, "the generator makes hardly a request that is taken: {tally:?}");
        assert!(of_status(400) > count / 25, "the generator makes hardly a request that is refused: {tally:?}");
        assert!(of_status(429) + of_status(503) < 1 + count / 1_000, "{tally:?}");
    }
    let rows = server.http().sql("honest", "SELECT value FROM points").unwrap();
    assert_eq!(rows, [json!({"value": 0.5})]);
    server.check_log(&[]).unwrap();
}
