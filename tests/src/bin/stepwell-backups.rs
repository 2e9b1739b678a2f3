//! Backs a loaded server up again and again, kills backups and servers, and restores: `stepwell-backups --cycles N [--seed S]`.

use anyhow::{Context, Result, bail};
use stepwell_tests::backup::{self, Plan};

fn main() -> Result<()> {
    let mut plan = Plan::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let mut number = || -> Result<u64> {
            let text = arguments.next().with_context(|| format!("{flag} takes a number"))?;
            text.parse().with_context(|| format!("{flag} {text}"))
        };
        match flag.as_str() {
            "--cycles" => plan.cycles = number()?,
            "--seed" => plan.seed = number()?,
            "--writers" => plan.writers = number()?,
            _ => bail!("usage: stepwell-backups [--cycles N] [--seed S] [--writers N]"),
        }
    }
    println!("{}", backup::run(&plan)?);
    Ok(())
}
