//! Artifacts through the use cases: rows and blobs together, whatever happens in between.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use stepwell_env::{DirEntry, Disk, DiskSpace, Env, MappedFile, ReadFile, RealDisk, WriteFile};

mod lost_rows;
mod purges;

use super::PartReceipt;
use crate::{App, AppConfig, AppError, ArtifactEntry, CreateRun, ErrorCode};

/// The real disk, on which all that touches artifacts fails once so many operations were done: as for a process that has ended.
struct EndsAfter(AtomicI64);

impl EndsAfter {
    fn count(&self, path: &Path) -> io::Result<()> {
        let counts = path.components().any(|part| part.as_os_str() == "artifacts");
        if counts && self.0.fetch_sub(1, Ordering::SeqCst) <= 0 {
            return Err(io::Error::other("the process has ended"));
        }
        Ok(())
    }
}

impl Disk for EndsAfter {
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        self.count(path)?;
        RealDisk.create(path)
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.count(path)?;
        RealDisk.create_dir_all(path)
    }
    fn map(&self, path: &Path) -> io::Result<MappedFile> {
        RealDisk.map(path)
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        RealDisk.read(path)
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        RealDisk.open(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        RealDisk.list(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.count(from)?;
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.count(path)?;
        RealDisk.remove(path)
    }
    fn overwrite(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        RealDisk.overwrite(path, data)
    }
    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        RealDisk.truncate(path, bytes)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.count(path)?;
        RealDisk.sync_dir(path)
    }
    fn exists(&self, path: &Path) -> bool {
        RealDisk.exists(path)
    }
    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        RealDisk.space(path)
    }
}

async fn open(dir: &Path) -> App {
    App::open(Env::real(), AppConfig::new(dir)).await.unwrap()
}

async fn put(app: &App, path: &str, bytes: &[u8]) -> Result<super::ArtifactInfo, AppError> {
    let mut upload = app.begin_artifact(Some(bytes.len() as u64)).await?;
    for piece in bytes.chunks(60_000) {
        upload.write(piece).await?;
    }
    app.put_artifact(&app.artifact_place(path).await?, upload).await
}

async fn get(app: &App, path: &str) -> Result<Vec<u8>, AppError> {
    let download = app.open_artifact(path).await?;
    let mut bytes = Vec::new();
    loop {
        let chunk = download.read(bytes.len() as u64).await?;
        if chunk.is_empty() {
            assert_eq!(bytes.len() as u64, download.info().bytes);
            return Ok(bytes);
        }
        bytes.extend(chunk);
    }
}

/// Files among the blobs, those on their way included, by their names.
fn blobs(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in RealDisk.list(&dir.join("artifacts")).unwrap() {
        let below = RealDisk.list(&dir.join("artifacts").join(&entry.name)).unwrap();
        found.extend(below.into_iter().map(|file| file.name));
    }
    found.sort();
    found
}

/// Waits until as many blobs are there as should be: what a start removes it removes beside its work.
async fn settled(dir: &Path, expected: usize) {
    for _ in 0..500 {
        if blobs(dir).len() == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} blobs, {expected} expected: {:?}", blobs(dir).len(), blobs(dir));
}

fn code<T>(result: Result<T, AppError>) -> Option<ErrorCode> {
    result.err().map(|error| error.code)
}

#[tokio::test(flavor = "multi_thread")]
async fn artifacts_are_put_replaced_listed_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(dir.path()).await;
    let info = put(&app, "1/r/artifacts/model/a.bin", b"one").await.unwrap();
    assert_eq!((info.bytes, info.path.as_str()), (3, "1/r/artifacts/model/a.bin"));
    put(&app, "1/r/artifacts/model/b.bin", b"one").await.unwrap();
    put(&app, "1/r/artifacts/model-2", b"two").await.unwrap();
    assert_eq!(blobs(dir.path()).len(), 2, "equal bytes once");
    let reading = app.open_artifact("1/r/artifacts/model-2").await.unwrap();
    put(&app, "1/r/artifacts/model-2", b"three").await.unwrap();
    assert_eq!(blobs(dir.path()).len(), 2, "what nobody names is gone");
    assert_eq!(reading.read(0).await.unwrap(), b"two", "a reader keeps what it opened");
    assert_eq!(get(&app, "1/r/artifacts/model-2").await.unwrap(), b"three");
    let listed = app.artifacts_in("1/r/artifacts").await.unwrap();
    assert_eq!(listed, [ArtifactEntry::Directory("model".into()), ArtifactEntry::File("model-2".into(), 5)]);
    assert_eq!(app.artifacts_in("").await.unwrap(), [ArtifactEntry::Directory("1".into())]);
    assert_eq!(app.artifacts_in("1/r/artifacts/model-2").await.unwrap(), []);
    let stats = app.artifact_stats().await.unwrap().totals;
    assert_eq!((stats.artifacts, stats.bytes, stats.blobs, stats.blob_bytes), (3, 11, 2, 8));

    assert_eq!(code(put(&app, "1/r/artifacts/model", b"x").await), Some(ErrorCode::ArtifactInTheWay));
    assert_eq!(code(put(&app, "1/r/artifacts/model-2/x", b"x").await), Some(ErrorCode::ArtifactInTheWay));
    assert_eq!(code(put(&app, "1/../x", b"x").await), Some(ErrorCode::InvalidName));
    assert_eq!(code(get(&app, "1/r/artifacts/model").await), Some(ErrorCode::ArtifactNotFound));
    assert_eq!(blobs(dir.path()).len(), 2, "a refused one leaves nothing");

    assert_eq!(app.delete_artifacts("1/r/artifacts/mod").await.unwrap(), 0, "not a part of a name");
    app.delete_artifacts("1/r/artifacts/model/a.bin").await.unwrap();
    assert_eq!(get(&app, "1/r/artifacts/model/b.bin").await.unwrap(), b"one", "its bytes have another name");
    app.delete_artifacts("1").await.unwrap();
    assert_eq!(blobs(dir.path()), Vec::<String>::new());
    app.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_many_is_listed_whole() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(dir.path()).await;
    let mut expected = Vec::new();
    for number in 0..300 {
        put(&app, &format!("d/{number:03}/deep/x"), b"").await.unwrap();
        put(&app, &format!("d/{number:03}.txt"), b"").await.unwrap();
        expected.push(ArtifactEntry::Directory(format!("{number:03}")));
        expected.push(ArtifactEntry::File(format!("{number:03}.txt"), 0));
    }
    for number in 0..300 {
        put(&app, &format!("d/wide/{number}"), b"").await.unwrap();
    }
    expected.push(ArtifactEntry::Directory("wide".into()));
    assert_eq!(app.artifacts_in("d").await.unwrap(), expected);
    app.shutdown().await.unwrap();
}

/// I1, I7: wherever a process ends during an upload that replaces an artifact, the old one is there or the new one, whole; the next
/// start leaves no file that nobody names.
#[tokio::test(flavor = "multi_thread")]
async fn i7_an_upload_that_ends_anywhere_leaves_the_old_or_the_new() {
    let (mut refused, mut taken) = (0, 0);
    for operations in 0..24 {
        let dir = tempfile::tempdir().unwrap();
        let app = open(dir.path()).await;
        put(&app, "p", b"old").await.unwrap();
        app.shutdown().await.unwrap();
        let disk = Arc::new(EndsAfter(AtomicI64::new(i64::MAX)));
        let app = App::open(Env { disk: disk.clone(), ..Env::real() }, AppConfig::new(dir.path())).await.unwrap();
        settled(dir.path(), 1).await;
        disk.0.store(operations, Ordering::SeqCst);
        let new = vec![7; 300_000];
        let acknowledged = put(&app, "p", &new).await.is_ok();
        app.shutdown().await.unwrap();
        let app = open(dir.path()).await;
        let found = get(&app, "p").await.unwrap();
        assert!(found == b"old" && !acknowledged || found == new, "after {operations} operations");
        settled(dir.path(), 1).await;
        app.shutdown().await.unwrap();
        if acknowledged { taken += 1 } else { refused += 1 }
    }
    assert!(refused >= 4 && taken >= 4, "{refused} refused, {taken} taken");
}

/// A blob that is removed because its last name went must not be the one that another upload is just giving a name.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn uploads_and_deletions_of_the_same_bytes_do_not_lose_them() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(dir.path()).await;
    let work = (0..8_usize).map(|worker| {
        let app = app.clone();
        tokio::spawn(async move {
            for round in 0..25 {
                let path = format!("w{worker}/{}", round % 2);
                put(&app, &path, b"the same bytes").await.unwrap();
                assert_eq!(get(&app, &path).await.unwrap(), b"the same bytes");
                if (round + worker) % 3 != 0 {
                    app.delete_artifacts(&path).await.unwrap();
                }
            }
        })
    });
    for done in work.collect::<Vec<_>>() {
        done.await.unwrap();
    }
    let mut left = 0;
    for worker in 0..8 {
        for name in ["0", "1"] {
            match get(&app, &format!("w{worker}/{name}")).await {
                Ok(bytes) => {
                    assert_eq!(bytes, b"the same bytes");
                    left += 1;
                }
                Err(error) => assert_eq!(error.code, ErrorCode::ArtifactNotFound),
            }
        }
    }
    assert!(left > 0);
    assert_eq!(blobs(dir.path()).len(), 1);
    app.delete_artifacts("w0").await.unwrap();
    app.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn i11_damage_is_named_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(dir.path()).await;
    let bytes: Vec<u8> = (0..600_000_u32).map(|at| ((at * 7) >> 3) as u8).collect();
    let info = put(&app, "a", &bytes).await.unwrap();
    put(&app, "b", b"whole").await.unwrap();
    let path = dir.path().join("artifacts").join(&info.sha256[..2]).join(&info.sha256);
    let mut rotten = bytes.clone();
    rotten[500_000] ^= 1;
    std::fs::write(&path, &rotten).unwrap();
    let download = app.open_artifact("a").await.unwrap();
    assert_eq!(download.read(0).await.unwrap(), bytes[..256 << 10]);
    let error = download.read(256 << 10).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::DataDamaged);
    assert!(error.message.contains(&info.sha256) && error.message.contains("262144"), "{error}");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(code(get(&app, "a").await), Some(ErrorCode::DataDamaged));
    assert_eq!(get(&app, "b").await.unwrap(), b"whole");
    put(&app, "c", &bytes).await.unwrap();
    assert_eq!(get(&app, "a").await.unwrap(), bytes, "the same bytes, uploaded again, mend it");
    app.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_become_one_in_the_order_of_their_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(dir.path()).await;
    let part = async |upload_id: &str, number: u32, bytes: &[u8]| {
        let mut upload = app.begin_artifact(None).await.unwrap();
        upload.write(bytes).await.unwrap();
        app.put_part(upload_id, number, upload).await
    };
    let upload_id = app.begin_parts(app.artifact_place("m/file").await.unwrap(), 3).unwrap();
    let mut receipts = BTreeMap::new();
    for (number, bytes) in [(3, vec![3; 10]), (1, vec![1; 300_000]), (2, vec![9; 5]), (2, vec![2; 5])] {
        receipts.insert(number, part(&upload_id, number, &bytes).await.unwrap());
    }
    let mut receipts: Vec<PartReceipt> =
        receipts.into_iter().map(|(number, sha256)| PartReceipt { number, sha256 }).collect();
    assert_eq!(code(app.complete_parts(&upload_id, "m/other", &receipts).await), Some(ErrorCode::UploadNotFound));
    assert_eq!(code(app.complete_parts(&upload_id, "m/file", &receipts[..2]).await), Some(ErrorCode::InvalidValue));
    let right = std::mem::replace(&mut receipts[1].sha256, "0".repeat(64));
    assert_eq!(code(app.complete_parts(&upload_id, "m/file", &receipts).await), Some(ErrorCode::InvalidValue));
    receipts[1].sha256 = right;
    app.complete_parts(&upload_id, "m/file", &receipts).await.unwrap();
    assert_eq!(get(&app, "m/file").await.unwrap(), [vec![1; 300_000], vec![2; 5], vec![3; 10]].concat());
    assert_eq!(blobs(dir.path()).len(), 1, "the parts are gone");
    assert_eq!(code(app.complete_parts(&upload_id, "m/file", &receipts).await), Some(ErrorCode::UploadNotFound));

    let aborted = app.begin_parts(app.artifact_place("m/aborted").await.unwrap(), 2).unwrap();
    part(&aborted, 1, b"x").await.unwrap();
    app.abort_parts(&aborted);
    app.abort_parts(&aborted);
    assert_eq!(code(part(&aborted, 2, b"y").await), Some(ErrorCode::UploadNotFound));
    assert_eq!(blobs(dir.path()).len(), 1);
    assert_eq!(code(app.begin_parts(app.artifact_place("m/none").await.unwrap(), 0)), Some(ErrorCode::InvalidValue));
    app.shutdown().await.unwrap();
}

#[test]
fn no_run_lies_within_another() {
    let runs = ["a", "a/artifacts", "a~2fartifacts", "..", ".", "~2e.", "a%2f", "a?b", "ünï 1"];
    let directories: Vec<String> = runs.iter().map(|run| super::run_directory("1", run)).collect();
    for (at, directory) in directories.iter().enumerate() {
        assert_eq!(stepwell_types::check_artifact_path(directory), Ok(()), "{directory}");
        assert_eq!(directory.matches('/').count(), 2, "{directory}");
        assert!(!directories[..at].contains(directory), "{directory}");
    }
    assert_eq!((directories[0].as_str(), directories[8].as_str()), ("1/a/artifacts", "1/ünï 1/artifacts"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_purged_run_had_goes_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(dir.path()).await;
    let mut roots = Vec::new();
    for run in ["a", "a/b"] {
        let run_id = Some(run.to_owned());
        app.create_run(CreateRun { project: "p".into(), run_id, ..CreateRun::default() }).await.unwrap();
        let root = app.artifacts_of_run(run).await.unwrap();
        put(&app, &format!("{root}/x"), run.as_bytes()).await.unwrap();
        roots.push(root);
    }
    app.delete_run("a").await.unwrap();
    assert_eq!(get(&app, &format!("{}/x", roots[0])).await.unwrap(), b"a", "the trash has it");
    app.purge_run("a").await.unwrap();
    assert_eq!(code(get(&app, &format!("{}/x", roots[0])).await), Some(ErrorCode::ArtifactNotFound));
    assert_eq!((get(&app, &format!("{}/x", roots[1])).await.unwrap(), blobs(dir.path()).len()), (b"a/b".to_vec(), 1));
    app.delete_project("p").await.unwrap();
    app.purge_project("p").await.unwrap();
    assert_eq!(blobs(dir.path()), Vec::<String>::new());
    app.shutdown().await.unwrap();
}
