//! Kills a loaded server at random moments and checks what it acknowledged: `stepwell-crash --cycles N [--seed S]`.

use anyhow::{Context, Result, bail};
use stepwell_tests::crash::{self, Plan};

fn main() -> Result<()> {
    let mut plan = Plan { cycles: 20, ..Plan::default() };
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
            _ => bail!("usage: stepwell-crash [--cycles N] [--seed S] [--writers N]"),
        }
    }
    let report = crash::run(&plan)?;
    println!("{report}");
    Ok(())
}
