//! Real faults on the real binary, a small plan of each kind; `cargo xtask faults` runs large ones.

use stepwell_tests::faults::{
    Mount, Plan, Report, clients, clock, full, inject, is_root, kills, memory, power, sectors, skip,
};

fn with_report(test: impl FnOnce(&mut Report) -> anyhow::Result<()>) {
    let mut report = Report::default();
    test(&mut report).unwrap();
    println!("{report}");
}

#[test]
fn i1_i3_i5_i7_kills_at_every_kind_of_moment_lose_nothing() {
    let report = kills::run(Plan { rounds: 20, seed: 11 }).unwrap();
    println!("{report}");
    assert!(report.get("batches acknowledged") > 20, "the producers hardly wrote");
}

#[test]
fn i9_slow_and_half_closed_clients_are_given_up_and_others_are_served() {
    with_report(clients::slow);
}

#[test]
fn i9_ten_thousand_idle_connections_are_bounded_and_others_are_served() {
    with_report(|report| clients::idle(10_000, report));
}

#[test]
fn i9_a_connection_past_the_limit_hears_why() {
    with_report(clients::too_many);
}

#[test]
fn i8_i9_without_descriptors_it_refuses_and_goes_on_when_they_return() {
    with_report(clients::descriptors);
}

#[test]
fn i8_a_disk_full_of_bytes_is_called_full_and_recovers_without_a_restart() {
    if !is_root() {
        return skip("full of bytes", "mounting needs root");
    }
    with_report(|report| full::bytes(&Mount::ext4(48, 0)?, 3, report));
}

#[test]
fn i8_i9_a_disk_without_room_for_another_file_refuses_before_memory_runs_out() {
    if !is_root() {
        return skip("full of files", "mounting needs root");
    }
    with_report(|report| full::inodes(&Mount::ext4(64, 256)?, 2, report));
}

#[test]
fn i8_metadata_on_a_full_disk_is_refused_as_such() {
    if !is_root() {
        return skip("full under the metadata", "mounting needs root");
    }
    with_report(|report| full::metadata(&Mount::ext4(32, 0)?, report));
}

#[test]
fn i7_what_was_acknowledged_survives_losses_of_power() {
    if !is_root() || !std::path::Path::new("/dev/fuse").exists() {
        return skip("loss of power", "it needs root and /dev/fuse");
    }
    let report = power::run(Plan { rounds: 5, seed: 7 }).unwrap();
    println!("{report}");
}

#[test]
fn i1_i11_sectors_that_cannot_be_read_fail_what_needs_them_and_are_neither_cut_nor_served() {
    if !is_root() || !std::path::Path::new("/dev/fuse").exists() {
        return skip("sectors that cannot be read", "it needs root and /dev/fuse");
    }
    // The first block of each file.
    let report = sectors::run(Plan { rounds: 1_000_000, seed: 0 }).unwrap();
    println!("{report}");
    assert!(report.get("queries refused, naming the file") > 0 && report.get("starts refused, naming the file") > 0);
}

#[test]
fn a_disk_that_lies_about_syncs_loses_batches_and_the_checks_see_it() {
    if !is_root() || !std::path::Path::new("/dev/fuse").exists() {
        return skip("a lying disk", "it needs root and /dev/fuse");
    }
    power::on_a_lying_disk(5, 8).unwrap();
}

#[test]
fn i1_i4_i7_failing_and_fatal_system_calls_lose_nothing() {
    if !inject::is_possible() {
        return skip("system calls", "strace is absent or may not trace");
    }
    println!("{}", inject::sample(6, 1).unwrap());
}

#[test]
fn i1_i7_a_server_that_dies_at_a_system_call_loses_nothing() {
    if !inject::is_possible() {
        return skip("a fatal system call", "strace is absent or may not trace");
    }
    with_report(inject::killed_at_a_call);
}

#[test]
fn i8_a_failed_sync_of_the_log_ends_acknowledgements_and_a_restart_recovers() {
    if !inject::is_possible() {
        return skip("a failed sync", "strace is absent or may not trace");
    }
    with_report(inject::failed_sync_of_the_log);
}

#[test]
fn i9_within_its_limit_of_memory_the_server_survives_overload() {
    if !memory::is_possible() {
        return skip("limit of memory", "it needs root and the memory controller of cgroup v1");
    }
    with_report(|report| memory::within(1, std::time::Duration::from_secs(6), report));
}

#[test]
fn i7_a_server_killed_for_memory_recovers() {
    if !memory::is_possible() {
        return skip("killed for memory", "it needs root and the memory controller of cgroup v1");
    }
    with_report(|report| memory::killed(2, report));
}

#[test]
fn steps_of_the_clock_by_a_day_lose_nothing_and_stop_nothing() {
    if clock::library().is_none() {
        return skip("steps of the clock", "libfaketime is not installed");
    }
    with_report(|report| clock::jumps(1, report));
}
