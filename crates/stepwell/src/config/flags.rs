//! The flags of `serve`, made from the table of knobs.

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, error::Error};

use super::knobs::{KNOBS, Kind, Knob};

/// What the command line of `serve` said.
#[derive(Debug, Default)]
pub(crate) struct ServeFlags {
    /// The TOML file, if one was named.
    pub(super) config: Option<PathBuf>,
    /// Knob name to the text given.
    pub(super) values: BTreeMap<&'static str, String>,
}

fn arg(knob: &'static Knob) -> Arg {
    let default = if knob.default.is_empty() { String::new() } else { format!(" [default: {}]", knob.default) };
    let arg = Arg::new(knob.name).long(knob.flag()).help(format!("{}{default}", knob.reason));
    match knob.kind {
        Kind::Switch => arg.action(ArgAction::Set).num_args(0..=1).require_equals(true).default_missing_value("true"),
        _ => arg.action(ArgAction::Set).value_name(knob.unit.to_uppercase()),
    }
}

impl Args for ServeFlags {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config").long("config").value_name("FILE").help("TOML file with any of the keys below");
        command.arg(config.value_parser(clap::value_parser!(PathBuf))).args(KNOBS.iter().map(arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ServeFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.config = matches.get_one::<PathBuf>("config").cloned();
        for knob in KNOBS {
            if let Some(value) = matches.get_one::<String>(knob.name) {
                self.values.insert(knob.name, value.clone());
            }
        }
        Ok(())
    }
}
