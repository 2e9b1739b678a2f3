//! The README's curl examples work as pasted, in their order.

use std::process::Command;

use stepwell_tests::{Server, repository};

#[test]
fn the_curl_examples_work_as_pasted() {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let blocks = readme.split("```sh\n").skip(1).map(|part| part.split("```").next().unwrap());
    let block: String = blocks.filter(|block| block.contains("curl")).collect();
    if Command::new("curl").arg("--version").output().is_err() {
        println!("curl is not installed: its examples are not tried");
        return;
    }
    let server = Server::start().unwrap();
    let script = format!("set -euo pipefail\n{}", block.replace("curl -s", "curl -sS --fail-with-body --noproxy '*'"));
    let script = script.replace("http://127.0.0.1:9090", server.url());
    let here = tempfile::tempdir().unwrap();
    let output = Command::new("bash").current_dir(&here).arg("-c").arg(&script).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("first,train/loss,NaN,0.71"), "{text}");
    assert!(text.contains("\"finished\"") && text.contains("\"keep_days\":90"), "{text}");
    server.check_log(&[]).unwrap();
}
