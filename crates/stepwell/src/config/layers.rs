//! Default, file, environment, flags: four layers of text, the later ones on top.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, bail};

use super::{
    flags::ServeFlags,
    knobs::{KNOBS, Knob},
};

/// Name of the variable that names the file; not a knob, since the file cannot name itself.
const CONFIG_VARIABLE: &str = "STEPWELL_CONFIG";

/// Knob name to text, each checked against its knob.
pub(super) type Values = BTreeMap<&'static str, String>;

/// Lays the layers over one another. `environment` yields names and values, of any program's variables.
pub(super) fn merge(flags: &ServeFlags, environment: impl Iterator<Item = (String, String)>) -> Result<Values> {
    let (config, from_environment) = read_environment(environment)?;
    let mut values = Values::new();
    values.extend(KNOBS.iter().filter_map(|knob| Some((knob.name, knob.default()?.to_owned()))));
    let file = flags.config.clone().or_else(|| config.map(Into::into));
    if let Some(path) = file {
        values.extend(read_file(&path)?);
    }
    values.extend(from_environment);
    for (name, text) in &flags.values {
        if let Some(knob) = Knob::find(name) {
            knob.check(text).map_err(anyhow::Error::msg).with_context(|| format!("flag --{}", knob.flag()))?;
        }
        values.insert(name, text.clone());
    }
    for knob in KNOBS {
        if !values.contains_key(knob.name) {
            bail!("`{}` is not set: give --{}, {} or the key in the file", knob.name, knob.flag(), knob.variable());
        }
    }
    Ok(values)
}

fn read_environment(environment: impl Iterator<Item = (String, String)>) -> Result<(Option<String>, Values)> {
    let (mut config, mut values) = (None, Values::new());
    for (variable, text) in environment.filter(|(variable, _)| variable.starts_with("STEPWELL_")) {
        if variable == CONFIG_VARIABLE {
            config = Some(text);
            continue;
        }
        let Some(knob) = KNOBS.iter().find(|knob| knob.variable() == variable) else {
            let known: Vec<String> = KNOBS.iter().map(Knob::variable).collect();
            bail!("environment variable {variable} is unknown; known are {CONFIG_VARIABLE}, {}", known.join(", "));
        };
        knob.check(&text).map_err(anyhow::Error::msg).with_context(|| format!("environment variable {variable}"))?;
        values.insert(knob.name, text);
    }
    Ok((config, values))
}

fn read_file(path: &Path) -> Result<Values> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read configuration file {}", path.display()))?;
    let table: toml::Table = text.parse().with_context(|| format!("configuration file {}", path.display()))?;
    let mut values = Values::new();
    for (key, value) in table {
        let Some(knob) = Knob::find(&key) else {
            let known: Vec<&str> = KNOBS.iter().map(|knob| knob.name).collect();
            bail!("configuration file {}: key `{key}` is unknown; known are {}", path.display(), known.join(", "));
        };
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(switch) => switch.to_string(),
            other => bail!("configuration file {}: `{key}` is a {}", path.display(), other.type_str()),
        };
        knob.check(&text)
            .map_err(anyhow::Error::msg)
            .with_context(|| format!("configuration file {}", path.display()))?;
        values.insert(knob.name, text);
    }
    Ok(values)
}
