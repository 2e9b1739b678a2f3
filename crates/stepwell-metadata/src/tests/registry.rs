//! Registered models, versions, and what is to be told of them.

use std::collections::BTreeMap;

use super::*;
use crate::{Announcement, ModelVersion, NewModelVersion, NewWebhook, OUTBOX_ROWS_MAX, RegisteredModel, Stage};

async fn opened() -> (tempfile::TempDir, Metadata) {
    let dir = tempfile::tempdir().unwrap();
    let metadata = Metadata::open(&dir.path().join("m")).await.unwrap();
    (dir, metadata)
}

fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn quiet<T>(_: &T) -> Option<Announcement> {
    None
}

async fn publish(metadata: &Metadata, name: &str, now_us: i64) -> ModelVersion {
    let new = NewModelVersion { name: name.into(), source: "s".into(), location: "l".into(), ..Default::default() };
    metadata.create_model_version(&new, &quiet, now_us).await.unwrap()
}

#[tokio::test]
async fn versions_are_numbered_once_and_keep_their_numbers_under_another_name() {
    let (_dir, metadata) = opened().await;
    let made = metadata.create_registered_model("m", Some("d"), &tags(&[("a", "1")]), &quiet, 1).await.unwrap();
    assert_eq!((made.description.as_deref(), made.tags["a"].as_str()), (Some("d"), "1"));
    let again = metadata.create_registered_model("m", None, &tags(&[]), &quiet, 2).await;
    assert!(matches!(again, Err(MetadataError::RegisteredModelExists { .. })));
    for number in 1..=3 {
        assert_eq!(publish(&metadata, "m", number).await.version, number);
    }
    metadata.delete_model_version("m", 3, 5).await.unwrap();
    assert_eq!(publish(&metadata, "m", 6).await.version, 4, "3 is not given again");
    assert_eq!(metadata.registered_model("m").await.unwrap().unwrap().updated_at_us, 6);
    metadata.create_registered_model("other", None, &tags(&[]), &quiet, 7).await.unwrap();
    let taken = metadata.rename_registered_model("m", "other", 8).await;
    assert!(matches!(taken, Err(MetadataError::RegisteredModelExists { .. })));
    metadata.rename_registered_model("m", "n", 9).await.unwrap();
    let versions = metadata.model_versions(Some("n")).await.unwrap();
    assert_eq!(versions.iter().map(|version| version.version).collect::<Vec<_>>(), [1, 2, 4]);
    assert!(versions.iter().all(|version| version.updated_at_us == 9));
    assert_eq!(metadata.registered_model("m").await.unwrap(), None);
    metadata.delete_registered_model("n", 10).await.unwrap();
    assert_eq!(metadata.model_versions(None).await.unwrap(), []);
    let gone = metadata.delete_registered_model("n", 11).await;
    assert!(matches!(gone, Err(MetadataError::RegisteredModelNotFound { .. })));
}

#[tokio::test]
async fn stages_aliases_and_tags_follow_their_version() {
    let (_dir, metadata) = opened().await;
    metadata.create_registered_model("m", None, &tags(&[]), &quiet, 1).await.unwrap();
    for number in 1..=4 {
        publish(&metadata, "m", number).await;
    }
    for version in [1, 2] {
        metadata.move_model_version("m", version, Stage::Production, false, 5).await.unwrap();
    }
    let moved = metadata.move_model_version("m", 3, Stage::Production, true, 6).await.unwrap();
    assert_eq!(moved.stage, Stage::Production);
    let stages = metadata.model_versions(Some("m")).await.unwrap();
    let stages: Vec<Stage> = stages.iter().map(|version| version.stage).collect();
    assert_eq!(stages, [Stage::Archived, Stage::Archived, Stage::Production, Stage::None]);
    let newest = metadata.newest_versions(&["m".into(), "nobody".into()]).await.unwrap();
    assert_eq!(newest["m"].iter().map(|version| version.version).collect::<Vec<_>>(), [2, 3, 4]);
    for (alias, version) in [("champion", 3), ("old", 1), ("champion", 2)] {
        metadata.set_model_alias("m", alias, version, &quiet, 7).await.unwrap();
    }
    let absent = metadata.set_model_alias("m", "x", 9, &quiet, 7).await;
    assert!(matches!(absent, Err(MetadataError::ModelVersionNotFound { version: 9, .. })));
    assert_eq!(metadata.model_version("m", 2).await.unwrap().unwrap().aliases, ["champion"]);
    metadata.tag_model_version("m", 2, ("k", Some("v")), &quiet, 8).await.unwrap();
    metadata.delete_model_version("m", 2, 9).await.unwrap();
    let model = metadata.registered_model("m").await.unwrap().unwrap();
    assert_eq!(model.aliases, BTreeMap::from([("old".into(), 1)]), "the alias went with the version");
    metadata.tag_registered_model("m", "k", Some("1"), &quiet, 10).await.unwrap();
    metadata.tag_registered_model("m", "k", Some("2"), &quiet, 10).await.unwrap();
    let model = metadata.delete_model_alias("m", "old", &quiet, 11).await.unwrap();
    assert_eq!((model.tags["k"].as_str(), model.aliases.len()), ("2", 0));
    let actions = sqlx::query("SELECT count(*) FROM audit").fetch_one(&metadata.readers).await.unwrap();
    // One row for each change that was made, none for those refused.
    assert_eq!(sqlx::Row::try_get::<i64, _>(&actions, 0).unwrap(), 1 + 4 + 3 + 3 + 1 + 1 + 2 + 1);
}

fn hook(webhook_id: &str, events: &[&str]) -> NewWebhook {
    NewWebhook {
        webhook_id: webhook_id.into(),
        name: webhook_id.into(),
        url: "https://example.org".into(),
        events: events.iter().map(|event| (*event).to_owned()).collect(),
        is_active: true,
        secret: Some("shh".into()),
        ..NewWebhook::default()
    }
}

fn told(model: &RegisteredModel) -> Option<Announcement> {
    Some(Announcement { event: "model.made", data: serde_json::json!({"name": model.name}) })
}

#[tokio::test]
async fn what_is_to_be_told_is_durable_with_the_change_and_goes_when_it_was_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m");
    let metadata = Metadata::open(&path).await.unwrap();
    for (id, events) in [("a", &["model.made"][..]), ("b", &["other"]), ("c", &["other", "model.made"])] {
        metadata.create_webhook(hook(id, events), 1).await.unwrap();
    }
    let off = crate::WebhookPatch { is_active: Some(false), ..Default::default() };
    metadata.update_webhook("c", off, 2).await.unwrap();
    metadata.create_registered_model("m", None, &tags(&[]), &told, 10).await.unwrap();
    let refused = metadata.create_registered_model("m", None, &tags(&[]), &told, 11).await;
    assert!(refused.is_err(), "what is refused is not told");
    metadata.close().await;
    let metadata = Metadata::open(&path).await.unwrap();
    let due = metadata.due_deliveries(10).await.unwrap();
    assert_eq!(due.len(), 1, "{due:?}");
    assert_eq!((due[0].webhook.webhook_id.as_str(), due[0].event.as_str(), due[0].attempts), ("a", "model.made", 0));
    assert_eq!(due[0].data, serde_json::json!({"name": "m"}));
    assert!(!format!("{due:?}").contains("shh"), "a secret is not shown");
    metadata.try_delivery_again(due[0].outbox_id, 50).await.unwrap();
    assert_eq!(
        (metadata.due_deliveries(49).await.unwrap().len(), metadata.next_delivery_us().await.unwrap()),
        (0, Some(50))
    );
    assert_eq!(metadata.due_deliveries(50).await.unwrap()[0].attempts, 1);
    metadata.delivered(due[0].outbox_id).await.unwrap();
    assert_eq!(metadata.next_delivery_us().await.unwrap(), None);
    metadata.delete_webhook("a", 60).await.unwrap();
    assert!(matches!(metadata.delete_webhook("a", 61).await, Err(MetadataError::WebhookNotFound { .. })));
    let listed = metadata.webhooks(10, 0).await.unwrap();
    assert_eq!(listed.iter().map(|hook| hook.webhook_id.as_str()).collect::<Vec<_>>(), ["c", "b"]);
}

#[tokio::test]
async fn i9_behind_a_receiver_that_never_answers_the_oldest_goes_with_an_audit_row() {
    let (_dir, metadata) = opened().await;
    metadata.create_webhook(hook("a", &["model.made"]), 1).await.unwrap();
    metadata.create_registered_model("m0", None, &tags(&[]), &told, 2).await.unwrap();
    let fill = "WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ?) \
                INSERT INTO outbox (webhook_id, event, data, created_at_us, next_at_us) SELECT 'a', 'e', '{}', i, i FROM n";
    sqlx::query(fill).bind(OUTBOX_ROWS_MAX).execute(&metadata.writer).await.unwrap();
    metadata.create_registered_model("m1", None, &tags(&[]), &told, 3).await.unwrap();
    let count = |query: &'static str| {
        let readers = metadata.readers.clone();
        async move {
            let row = sqlx::query(query).fetch_one(&readers).await.unwrap();
            sqlx::Row::try_get::<i64, _>(&row, 0).unwrap()
        }
    };
    assert_eq!(count("SELECT count(*) FROM outbox").await, OUTBOX_ROWS_MAX);
    assert_eq!(count("SELECT count(*) FROM outbox WHERE data LIKE '%m0%'").await, 0, "the oldest went");
    assert_eq!(count("SELECT count(*) FROM audit WHERE action = 'drop_delivery'").await, 1);
}
