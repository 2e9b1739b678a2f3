//! A sample of all damages, always the same; `cargo xtask rot --all` does all of them.

use stepwell_rot::{Damage, MetadataFile, Outcome, Report, after_a_crash, after_a_restart, cases, judge};

/// I11: a flipped byte, a cut or a missing file is an error that names it, or makes no difference; a check finds it, and a repair
/// leaves all the rest.
#[test]
fn i11_no_damage_is_served_and_none_takes_the_rest_with_it() {
    const SAMPLE: usize = 120;
    let mut report = Report::default();
    for directory in [after_a_restart().unwrap(), after_a_crash().unwrap()] {
        let all = cases(&directory).unwrap();
        let removed = all.iter().filter(|case| matches!(case, Damage::Remove { .. }));
        let sampled = all.iter().step_by(all.len() / (SAMPLE / 2) + 1);
        for case in sampled.chain(removed) {
            report.add(case, judge(&directory, case));
        }
    }
    let metadata = MetadataFile::new().unwrap();
    for (number, case) in metadata.cases().iter().step_by(997).enumerate() {
        report.add(case, metadata.judge(number, case));
    }
    println!("{report}");
    assert_eq!(report.count(Outcome::Wrong) + report.count(Outcome::Panicked), 0, "{report}");
    assert!(report.cases() >= SAMPLE as u64 && report.count(Outcome::Refused) > 20, "{report}");
    assert!(report.count(Outcome::Right) > 20 && report.count(Outcome::Reported) > 0, "{report}");
}
