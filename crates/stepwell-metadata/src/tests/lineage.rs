//! Datasets, logged models, and what runs read and made.

use std::collections::BTreeMap;

use super::*;
use crate::{Dataset, DatasetInput, LoggedModelStatus, ModelMetric, ModelOutput, NewLoggedModel};

async fn with_run() -> (tempfile::TempDir, Metadata, String) {
    let dir = tempfile::tempdir().unwrap();
    let metadata = Metadata::open(&dir.path().join("m")).await.unwrap();
    let project = metadata.ensure_project("p", 0).await.unwrap();
    metadata.create_run(new_run("r", &project.project_id), 1).await.unwrap();
    (dir, metadata, project.project_id)
}

fn input(digest: &str, context: &str) -> DatasetInput {
    let dataset = Dataset {
        name: "d".into(),
        digest: digest.into(),
        source_type: "local".into(),
        source: "{}".into(),
        schema: Some("s".into()),
        profile: None,
    };
    DatasetInput { dataset, tags: BTreeMap::from([("context".into(), context.into())]) }
}

fn metric(model_id: &str, step: i64, value: f64) -> ModelMetric {
    ModelMetric {
        model_id: model_id.into(),
        metric: "acc".into(),
        timestamp_us: 5,
        step,
        run_id: "r".into(),
        value,
        dataset_name: Some("d".into()),
        dataset_digest: None,
    }
}

#[tokio::test]
async fn inputs_and_outputs_of_runs_are_noted_once() {
    let (_dir, metadata, project_id) = with_run().await;
    let output = |step| [ModelOutput { model_id: "m-2".into(), step }];
    for _ in 0..2 {
        let inputs = [input("1", "train"), input("2", "eval")];
        metadata.add_run_inputs("r", &inputs, &["m-1".into()], 2).await.unwrap();
        metadata.add_run_outputs("r", &output(7), 3).await.unwrap();
    }
    metadata.add_run_outputs("r", &output(8), 4).await.unwrap();
    let links = metadata.run_links(&["r".into(), "nobody".into()]).await.unwrap();
    assert_eq!(links.len(), 1);
    assert_eq!(links["r"].datasets, [input("1", "train"), input("2", "eval")]);
    assert_eq!(
        (&links["r"].model_inputs[..], &links["r"].model_outputs[..]),
        (&["m-1".to_owned()][..], &output(8)[..])
    );
    let uses = metadata.dataset_uses(&[project_id.clone(), "x".into()], "context", 10).await.unwrap();
    let uses: Vec<_> = uses.iter().map(|used| (used.digest.as_str(), used.context.as_deref())).collect();
    assert_eq!(uses, [("1", Some("train")), ("2", Some("eval"))]);
    assert_eq!(metadata.dataset_uses(&[project_id], "other", 10).await.unwrap()[0].context, None);
    let nobody = metadata.add_run_inputs("nobody", &[], &[], 5).await;
    assert!(matches!(nobody, Err(MetadataError::RunNotFound { .. })));
}

#[tokio::test]
async fn logged_models_have_a_state_params_tags_and_points() {
    let (_dir, metadata, project_id) = with_run().await;
    let new = |model_id: &str| NewLoggedModel {
        model_id: model_id.into(),
        project_id: project_id.clone(),
        name: "n".into(),
        location: "l".into(),
        params: BTreeMap::from([("depth".into(), "3".into())]),
        ..NewLoggedModel::default()
    };
    let made = metadata.create_logged_model(&new("m-1"), 1).await.unwrap();
    assert_eq!((made.status, made.params["depth"].as_str()), (LoggedModelStatus::Pending, "3"));
    metadata.create_logged_model(&new("m-2"), 2).await.unwrap();
    let params = |value: &str| BTreeMap::from([("depth".to_owned(), value.to_owned()), ("lr".into(), "0.1".into())]);
    metadata.add_logged_model_params("m-1", &params("3"), 3).await.unwrap();
    let other = metadata.add_logged_model_params("m-1", &params("4"), 3).await;
    assert!(matches!(other, Err(MetadataError::ModelParamExists { .. })));
    metadata.tag_logged_model("m-1", &BTreeMap::from([("k".into(), "v".into())]), 4).await.unwrap();
    assert!(!metadata.untag_logged_model("m-1", "x", 5).await.unwrap());
    assert!(metadata.untag_logged_model("m-1", "k", 5).await.unwrap());
    let points = [metric("m-1", 1, 0.5), metric("m-1", 2, f64::NAN), metric("m-1", 3, f64::INFINITY)];
    for _ in 0..2 {
        metadata.add_model_metrics(&points).await.unwrap();
    }
    let unknown = metadata.add_model_metrics(&[metric("m-1", 4, 1.0), metric("m-9", 4, 1.0)]).await;
    assert!(matches!(unknown, Err(MetadataError::LoggedModelNotFound { .. })));
    let model = metadata.set_logged_model_status("m-1", LoggedModelStatus::Ready, 6).await.unwrap();
    assert_eq!(
        (model.status, model.updated_at_us, model.params.len(), model.tags.len()),
        (LoggedModelStatus::Ready, 6, 2, 0)
    );
    let values: Vec<f64> = model.metrics.iter().map(|metric| metric.value).collect();
    assert!(values[0] == 0.5 && values[1].is_nan() && values[2] == f64::INFINITY && values.len() == 3, "{values:?}");
    let ids = |models: Vec<crate::LoggedModel>| models.into_iter().map(|model| model.model_id).collect::<Vec<_>>();
    assert_eq!(ids(metadata.logged_models(std::slice::from_ref(&project_id)).await.unwrap()), ["m-2", "m-1"]);
    metadata.delete_logged_model("m-2", 7).await.unwrap();
    assert_eq!(ids(metadata.logged_models(std::slice::from_ref(&project_id)).await.unwrap()), ["m-1"]);
    assert!(metadata.logged_model("m-2").await.unwrap().is_some_and(|model| model.is_deleted));
}

/// What hangs on a run or project must not keep it from being purged.
#[tokio::test]
async fn lineage_goes_with_its_run_and_its_project() {
    let (_dir, metadata, project_id) = with_run().await;
    let new = NewLoggedModel { model_id: "m-1".into(), project_id: project_id.clone(), ..NewLoggedModel::default() };
    metadata.create_logged_model(&new, 1).await.unwrap();
    metadata.create_run(new_run("s", &project_id), 1).await.unwrap();
    for run_id in ["r", "s"] {
        metadata.add_run_inputs(run_id, &[input("1", "train")], &["m-1".into()], 2).await.unwrap();
        metadata.add_run_outputs(run_id, &[ModelOutput { model_id: "m-1".into(), step: 0 }], 2).await.unwrap();
    }
    metadata.add_model_metrics(&[metric("m-1", 1, 0.5)]).await.unwrap();
    metadata.trash_run("r", 3).await.unwrap();
    metadata.purge_run("r", "1/r/artifacts", 4).await.unwrap();
    assert_eq!(metadata.run_links(&["r".into()]).await.unwrap(), BTreeMap::new());
    assert_eq!(metadata.logged_model("m-1").await.unwrap().unwrap().metrics, []);
    assert_eq!(metadata.run_links(&["s".into()]).await.unwrap()["s"].datasets.len(), 1);
    metadata.trash_project(&project_id, 5).await.unwrap();
    metadata.purge_project("p", &project_id, 6).await.unwrap();
    assert_eq!(metadata.logged_model("m-1").await.unwrap(), None);
    let left = sqlx::query("SELECT count(*) FROM datasets").fetch_one(&metadata.readers).await.unwrap();
    assert_eq!(sqlx::Row::try_get::<i64, _>(&left, 0).unwrap(), 0);
}
