//! SIGKILL at random moments: every acknowledged batch is there exactly once, with identical bits (I1, I3, I5, I7).

use stepwell_tests::crash::{self, Plan};

#[test]
fn every_acknowledged_batch_survives_twenty_kills_once_with_its_bits() {
    let report = crash::run(&Plan { cycles: 20, ..Plan::default() }).unwrap();
    println!("{report}");
    assert!(report.acked_batches > 20, "the writers hardly wrote: {report}");
}
