//! Webhooks: who is told of changes of the registry.

use serde_json::{Value, json};
use stepwell_app::{App, AppError, ErrorCode, NewWebhook, Webhook, WebhookPatch, WebhookTest};

use super::{
    args::{Args, invalid_value, list_json, missing},
    failure::Failure,
    python, registry,
    routes::Call,
    search::PageToken,
};

const LISTED_DEFAULT: i64 = 100;
const LISTED_MAX: i64 = 1_000;

/// What can be told of what, by the numbers that protocol buffers have for it.
const ENTITIES: [(&str, &[&str]); 10] = [
    ("registered_model", &["created"]),
    ("model_version", &["created"]),
    ("model_version_tag", &["deleted", "set"]),
    ("model_version_alias", &["created", "deleted"]),
    ("prompt", &["created"]),
    ("prompt_version", &["created"]),
    ("prompt_tag", &["deleted", "set"]),
    ("prompt_version_tag", &["deleted", "set"]),
    ("prompt_alias", &["created", "deleted"]),
    ("budget_policy", &["exceeded"]),
];
const ACTIONS: [&str; 5] = ["created", "updated", "deleted", "set", "exceeded"];
const STATUSES: [&str; 2] = ["active", "disabled"];

pub(crate) async fn route(app: &App, call: Call<'_>) -> Result<Value, Failure> {
    match (call.method, call.path) {
        ("POST", [_]) => create(app, call.args).await,
        ("GET", [_]) => list(app, call.args).await,
        ("GET", [_, id]) => Ok(shown(&find(app, id).await?)),
        ("PATCH", [_, id]) => update(app, id, call.args).await,
        ("DELETE", [_, id]) => {
            app.delete_webhook(id).await.map_err(or_not_found(id))?;
            Ok(json!({}))
        }
        ("POST", [_, id, "test"]) => test(app, id, call.args).await,
        _ => call.unknown(),
    }
}

fn not_found(id: &str) -> Failure {
    Failure::absent(format!("Webhook with ID {id} not found."))
}

fn or_not_found(id: &str) -> impl Fn(AppError) -> Failure + '_ {
    move |error| match error.code {
        ErrorCode::WebhookNotFound => not_found(id),
        _ => error.into(),
    }
}

async fn find(app: &App, id: &str) -> Result<Webhook, Failure> {
    app.webhook(id).await?.ok_or_else(|| not_found(id))
}

/// A webhook as MLflow shows it: without its secret.
fn webhook_json(webhook: &Webhook) -> Value {
    let events: Vec<Value> = webhook
        .events
        .iter()
        .filter_map(|event| event.split_once('.'))
        .map(|(entity, action)| json!({"entity": entity.to_uppercase(), "action": action.to_uppercase()}))
        .collect();
    let mut shown = json!({
        "webhook_id": webhook.webhook_id,
        "name": webhook.name,
        "url": webhook.url,
        "events": events,
        "status": if webhook.is_active { "ACTIVE" } else { "DISABLED" },
        "creation_timestamp": webhook.created_at_us.div_euclid(1_000),
        "last_updated_timestamp": webhook.updated_at_us.div_euclid(1_000),
    });
    if let Some(description) = webhook.description.as_deref().filter(|description| !description.is_empty()) {
        shown["description"] = Value::from(description);
    }
    shown
}

fn shown(webhook: &Webhook) -> Value {
    json!({"webhook": webhook_json(webhook)})
}

async fn create(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let (name, url) = (args.required("name")?, args.required("url")?);
    let events = events(args)?;
    if events.is_empty() {
        return Err(missing("events"));
    }
    check_name(name)?;
    let new = NewWebhook {
        webhook_id: String::new(),
        name: name.to_owned(),
        description: args.given("description")?,
        url: url.to_owned(),
        events,
        is_active: is_active(args)?.unwrap_or(true),
        secret: args.given("secret")?,
    };
    Ok(shown(&app.create_webhook(new).await?))
}

async fn list(app: &App, args: &Args<'_>) -> Result<Value, Failure> {
    let limit = args.integer("max_results")?.filter(|number| *number != 0).unwrap_or(LISTED_DEFAULT);
    let limit = u64::try_from(limit).ok().filter(|_| (1..=LISTED_MAX).contains(&limit));
    let limit = limit.ok_or_else(|| Failure::invalid("max_results must be between 1 and 1000."))?;
    let PageToken { offset } = PageToken::parse(args.text("page_token")?)?;
    let mut found = app.webhooks(limit + 1, offset as u64).await?;
    let has_more = found.len() as u64 > limit;
    found.truncate(limit as usize);
    let next = has_more.then(|| PageToken { offset: offset.saturating_add(limit as usize) }.text());
    Ok(list_json("webhooks", found.iter().map(webhook_json).collect(), next))
}

async fn update(app: &App, id: &str, args: &Args<'_>) -> Result<Value, Failure> {
    let text = |name: &str| Ok::<_, Failure>(args.text(name)?.map(ToOwned::to_owned));
    let events = events(args)?;
    let patch = WebhookPatch {
        name: args.given("name")?,
        description: text("description")?,
        url: args.given("url")?,
        events: Some(events).filter(|events| !events.is_empty()),
        is_active: is_active(args)?,
        secret: text("secret")?,
    };
    find(app, id).await?;
    if let Some(name) = &patch.name {
        check_name(name)?;
    }
    Ok(shown(&app.update_webhook(id, patch).await.map_err(or_not_found(id))?))
}

async fn test(app: &App, id: &str, args: &Args<'_>) -> Result<Value, Failure> {
    let asked = args.object("event")?.map(|event| self::event(&event)).transpose()?;
    let webhook = find(app, id).await?;
    let first = webhook.events.first().cloned().unwrap_or_default();
    let event = asked.unwrap_or(first);
    let result = match app.test_webhook(webhook, &event, registry::example(&event)).await? {
        WebhookTest::Answered { status, body } => {
            json!({"success": status < 400, "response_status": status, "response_body": body})
        }
        WebhookTest::Failed { reason } => {
            json!({"success": false, "error_message": format!("Failed to test webhook: {reason}")})
        }
    };
    Ok(json!({"result": result}))
}

/// The names of events that a request has; each once.
fn events(args: &Args<'_>) -> Result<Vec<String>, Failure> {
    let mut events = args.objects("events")?.iter().map(event).collect::<Result<Vec<_>, _>>()?;
    events.sort();
    events.dedup();
    Ok(events)
}

/// The name of an event.
fn event(args: &Args<'_>) -> Result<String, Failure> {
    let entity = word(args, "entity", &ENTITIES.map(|(entity, _)| entity))?.ok_or_else(|| missing("entity"))?;
    let action = word(args, "action", &ACTIONS)?.ok_or_else(|| missing("action"))?;
    let known = ENTITIES.iter().find(|(known, _)| *known == entity).map_or(&[] as &[&str], |(_, actions)| actions);
    if !known.contains(&action) {
        return Err(Failure::invalid(format!(
            "Invalid action '{action}' for entity '{entity}'. Valid actions are: {}",
            python::list(known.iter().copied())
        )));
    }
    Ok(format!("{entity}.{action}"))
}

/// One of some words, which requests have in capitals or as its number, from 1.
fn word(args: &Args<'_>, name: &str, words: &[&'static str]) -> Result<Option<&'static str>, Failure> {
    let Some(value) = args.value(name) else { return Ok(None) };
    let found = match value {
        Value::String(text) => words.iter().find(|word| word.to_uppercase() == *text),
        Value::Number(number) => {
            number.as_u64().and_then(|number| words.get(usize::try_from(number).ok()?.checked_sub(1)?))
        }
        _ => None,
    };
    found.copied().map(Some).ok_or_else(|| invalid_value(name, value))
}

fn is_active(args: &Args<'_>) -> Result<Option<bool>, Failure> {
    Ok(word(args, "status", &STATUSES)?.map(|status| status == STATUSES[0]))
}

fn check_name(name: &str) -> Result<(), Failure> {
    let is_edge = |character: char| character.is_ascii_alphanumeric();
    let is_allowed = |character: char| is_edge(character) || "._-".contains(character);
    let is_name =
        name.starts_with(is_edge) && name.ends_with(is_edge) && name.chars().all(is_allowed) && name.len() <= 63;
    match is_name {
        true => Ok(()),
        false => Err(Failure::invalid(format!(
            "Webhook name {} is invalid. It must start and end with a letter or digit, be less than 63 characters long, and \
             contain only letters, digits, dots (.), underscores (_), and hyphens (-).",
            python::text(name)
        ))),
    }
}
