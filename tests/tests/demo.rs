//! The demo, as a newcomer starts it.

use skein_tests::{Process, command};

#[tokio::test]
async fn the_demo_ends_with_a_verified_download_and_leaves_nothing_behind() {
    let temp = tempfile::tempdir().expect("a folder");
    let mut skein = command::skein(temp.path(), &["demo"]);
    skein.env("TMPDIR", temp.path());
    let mut demo = Process::spawn("demo", skein, &temp.path().join("demo.log"));
    let mut verified = false;
    while let Some(line) = demo.next_line().await {
        let event: serde_json::Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON value: {line}"));
        verified |= event["event"] == "verified";
    }
    assert!(demo.ended().await.success(), "{}", demo.log());
    assert!(verified, "it says that the download was verified: {}", demo.log());
    let left: Vec<_> = std::fs::read_dir(temp.path())
        .expect("the folder can be read")
        .filter_map(|entry| Some(entry.ok()?.file_name()))
        .filter(|name| name.to_string_lossy().starts_with("skein-demo-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
