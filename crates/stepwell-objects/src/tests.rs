//! Against a store in memory. A real protocol is spoken in `tests/tests/artifacts/s3.rs` and `tests/tests/backup.rs`.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use stepwell_env::{Disk, Env, ManualClock, ReadFile, write_atomically};
use tokio::runtime::Runtime;

use crate::{
    InMemory, Listed, ObjectDisk, ObjectError, ObjectLock, Objects, is_url, lock::LASTS, object::AHEAD_BYTES_MAX,
    store::PART_BYTES,
};

fn objects(runtime: &Runtime) -> Objects {
    Objects::over(Arc::new(InMemory::new()), "team/x", "s3://bucket/team/x/", runtime.handle().clone())
}

fn noise(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at.wrapping_mul(2_654_435_761) >> 7) as u8).collect()
}

fn put(objects: &Objects, key: &str, content: &[u8]) {
    let mut pieces = content.chunks(100_000);
    objects.put(key, content.len() as u64, || Ok::<_, ObjectError>(pieces.next().map(<[u8]>::to_vec))).unwrap();
}

#[test]
fn objects_of_any_length_come_back_forwards_and_backwards() {
    let runtime = Runtime::new().unwrap();
    let objects = objects(&runtime);
    objects.probe().unwrap();
    let ahead = AHEAD_BYTES_MAX as usize;
    for bytes in [0, 1, 3 * ahead + 5, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES + 7] {
        let content = noise(bytes);
        put(&objects, "a/b", &content);
        assert_eq!(objects.bytes_of("a/b").unwrap(), Some(bytes as u64));
        let object = objects.open("a/b").unwrap().unwrap();
        for step in [99_991, ahead + 3] {
            let starts: Vec<usize> = (0..bytes).step_by(step).collect();
            for &from in starts.iter().chain(starts.iter().rev()) {
                let expected = &content[from..bytes.min(from + step)];
                assert!(object.read_at(from as u64, step).unwrap() == expected, "{bytes} bytes from {from}");
            }
        }
        assert!(object.read_at(bytes as u64, 1).unwrap().is_empty());
    }
    put(&objects, "a/c", b"12");
    put(&objects, "ab", b"");
    let listed = |key: &str, bytes: u64| Listed { key: key.to_owned(), bytes };
    assert_eq!(objects.list("a").unwrap(), [listed("a/b", 3 * PART_BYTES as u64 + 7), listed("a/c", 2)]);
    assert_eq!(objects.list("").unwrap().len(), 3);
    objects.remove("a/b").unwrap();
    objects.remove("a/b").unwrap();
    assert!(objects.open("a/b").unwrap().is_none());
}

#[test]
fn a_put_that_fails_midway_leaves_what_was_there() {
    let runtime = Runtime::new().unwrap();
    let objects = objects(&runtime);
    put(&objects, "a", b"before");
    for bytes in [1_000, 2 * PART_BYTES as u64] {
        let mut left = bytes / 2;
        let failed = objects.put("a", bytes, || {
            left = left.checked_sub(500).ok_or(io::Error::other("read error"))?;
            Ok::<_, io::Error>(Some(vec![0; 500]))
        });
        assert_eq!(failed.unwrap_err().to_string(), "read error");
        assert_eq!(objects.open("a").unwrap().unwrap().read_at(0, 9).unwrap(), b"before");
    }
}

#[test]
fn a_file_is_an_object_once_it_has_its_name() {
    let runtime = Runtime::new().unwrap();
    let objects = objects(&runtime);
    let disk = ObjectDisk::new(objects.clone()).unwrap();
    let path = |name: &str| PathBuf::from("s3://bucket/team/x").join(name);
    let mut file = disk.create(&path("d/a.tmp")).unwrap();
    file.append(b"hel").unwrap();
    file.append(b"lo").unwrap();
    file.sync().unwrap();
    assert!(objects.list("").unwrap().is_empty() && disk.exists(&path("d/a.tmp")));
    assert_eq!(disk.map(&path("d/a.tmp")).unwrap().bytes()[..], *b"hello");
    assert_eq!(disk.create(&path("d/a.tmp")).err().unwrap().kind(), io::ErrorKind::AlreadyExists);
    disk.rename(&path("d/a.tmp"), &path("d/a")).unwrap();
    assert!(!disk.exists(&path("d/a.tmp")) && disk.exists(&path("d/a")) && disk.exists(&path("d")));
    write_atomically(&disk, &path("d/e/b"), &noise(PART_BYTES + 3)).unwrap();
    write_atomically(&disk, &path("c"), b"").unwrap();
    assert_eq!(disk.read(&path("d/a")).unwrap(), b"hello");
    assert!(disk.map(&path("d/e/b")).unwrap().bytes()[..] == noise(PART_BYTES + 3));
    assert_eq!(disk.open(&path("d/a")).unwrap().read_at(1, 2).unwrap(), b"el");
    let names = |dir: &str| {
        let entries = disk.list(&path(dir)).unwrap();
        entries.into_iter().map(|entry| (entry.name, entry.bytes, entry.is_dir)).collect::<Vec<_>>()
    };
    assert_eq!(names(""), [("c".into(), 0, false), ("d".into(), 0, true)]);
    assert_eq!(names("d"), [("a".into(), 5, false), ("e".into(), 0, true)]);
    assert_eq!(std::fs::read_dir(disk.spool()).unwrap().count(), 0, "nothing stays here");
    disk.remove(&path("d/a")).unwrap();
    assert_eq!(disk.read(&path("d/a")).unwrap_err().kind(), io::ErrorKind::NotFound);
    for error in [disk.rename(&path("c"), &path("b")).unwrap_err(), disk.truncate(&path("c"), 0).unwrap_err()] {
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    }
    assert!(disk.read(&PathBuf::from("/elsewhere")).is_err());
    drop(disk.create(&path("given up")).unwrap());
    let spool = disk.spool().to_owned();
    drop(disk);
    assert!(!spool.exists() && objects.bytes_of("given up").unwrap().is_none());
}

#[test]
fn urls_that_cannot_be_used_say_why_and_no_secret() {
    let runtime = Runtime::new().unwrap();
    let refusal = |url: &str| match Objects::at(url, runtime.handle().clone()) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{url} is taken"),
    };
    assert!(refusal("s3://key:secret@bucket/x").contains("come from the environment"));
    for url in ["s3://key:secret@bucket/x", "s3://bucket/x?token=secret"] {
        assert!(!refusal(url).contains("secret"), "{}", refusal(url));
    }
    assert!(refusal("file:///tmp/x").contains("on this machine"));
    assert!(refusal("here").contains("here cannot be used"));
    assert!(refusal("ftp://host/x").contains("cannot be used"));
    assert!(is_url("s3://x/y") && !is_url("file:///x") && !is_url("/a/b"));
}

#[test]
fn one_process_at_a_time_has_the_lock_and_the_other_hears_who() {
    let runtime = Runtime::new().unwrap();
    let (objects, env) = (objects(&runtime), Env::real());
    let acquire = |purpose: &str| ObjectLock::acquire(&objects, &env, purpose).map(Option::unwrap);
    let first = acquire("first").unwrap();
    let refused = acquire("second").err().unwrap().to_string();
    assert!(
        refused.contains("s3://bucket/team/x/LOCK is held by process ") && refused.contains("(first)"),
        "{refused}"
    );
    assert_eq!(objects.list("").unwrap().len(), 1, "no trace of who asked");
    drop(first);
    assert!(objects.list("").unwrap().is_empty());
    drop(acquire("second").unwrap());
}

#[test]
fn a_lock_that_lapsed_is_taken_over_and_its_holder_changes_nothing_any_more() {
    let runtime = Runtime::new().unwrap();
    let (objects, env) = (objects(&runtime), Env::real());
    let disk = ObjectDisk::new(objects.clone()).unwrap();
    let path = |name: &str| PathBuf::from("s3://bucket/team/x").join(name);
    let first = disk.lock(&env, "first").unwrap().unwrap();
    write_atomically(&disk, &path("a"), b"1").unwrap();
    // To whom every lock has lapsed.
    let second = ObjectLock::acquire_for(&objects, &env, "second", Duration::ZERO).unwrap().unwrap();
    first.lease().renew();
    for refused in [write_atomically(&disk, &path("b"), b"2"), disk.remove(&path("a"))] {
        let said = refused.unwrap_err().to_string();
        assert!(said.contains("LOCK was taken over by another process"), "{said}");
    }
    drop(first);
    let keys: Vec<String> = objects.list("").unwrap().into_iter().map(|listed| listed.key).collect();
    assert_eq!(keys, ["LOCK", "a"], "what is another's is not given back");
    drop(second);
}

#[test]
fn who_could_not_renew_the_lock_for_half_its_time_changes_nothing_any_more() {
    let runtime = Runtime::new().unwrap();
    let (objects, clock) = (objects(&runtime), Arc::new(ManualClock::new(0)));
    let env = Env { clock: clock.clone(), ..Env::real() };
    let disk = ObjectDisk::new(objects.clone()).unwrap();
    let path = PathBuf::from("s3://bucket/team/x/a");
    let mut lock = disk.lock(&env, "test").unwrap().unwrap();
    lock.leave();
    clock.advance(LASTS / 2 - Duration::from_secs(1));
    write_atomically(&disk, &path, b"1").unwrap();
    clock.advance(Duration::from_secs(1));
    let said = disk.remove(&path).unwrap_err().to_string();
    assert!(said.contains("LOCK was not renewed for 300 s"), "{said}");
    lock.lease().renew();
    disk.remove(&path).unwrap();
}

#[test]
fn a_renewal_whose_answer_was_lost_is_recognised() {
    let runtime = Runtime::new().unwrap();
    let (objects, env) = (objects(&runtime), Env::real());
    let lock = ObjectLock::acquire(&objects, &env, "test").unwrap().unwrap();
    let content = || objects.open("LOCK").unwrap().unwrap().read_at(0, 1_000).unwrap();
    let before = content();
    // Another version with what it wrote itself.
    put(&objects, "LOCK", &before);
    lock.lease().renew();
    lock.lease().check().unwrap();
    lock.lease().renew();
    lock.lease().check().unwrap();
    assert_ne!(content(), before);
}
