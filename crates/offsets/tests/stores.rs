//! Both stores against a plain map, the file store with a new opening at any moment; and what a damaged file
//! says.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aqueduct_api::catalog::OffsetStoreKind;
use aqueduct_api::{ErrorKind, OffsetStore, Offsets};
use aqueduct_offsets::{FilesConfig, MemoryConfig};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

const PIPELINES: [&str; 6] = ["orders", "Orders/..", "..", "ÄÖ \n%2e", "orders.json", "a_b-c"];

#[derive(Clone, Debug)]
enum Step {
    Save(usize, Offsets),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let position = any::<String>().prop_map(Arc::<str>::from);
    let partition = "[a-c/\"]{1,2}".prop_map(Arc::<str>::from);
    let save = (0..PIPELINES.len(), btree_map(partition, position, 0..4)).prop_map(|(p, o)| Step::Save(p, o));
    prop_oneof![4 => save, 1 => Just(Step::Reopen)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_store_holds_what_was_moved_last(steps in vec(step(), 1..20)) {
        let folder = folder("model");
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        runtime.block_on(async {
            let mut files = open(&folder).await;
            let memory = MemoryConfig {}.open().await.unwrap();
            let mut model: BTreeMap<&str, Offsets> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Reopen => files = open(&folder).await,
                    Step::Save(pipeline, moved) => {
                        files.save(PIPELINES[pipeline], &moved).await.unwrap();
                        memory.save(PIPELINES[pipeline], &moved).await.unwrap();
                        model.entry(PIPELINES[pipeline]).or_default().extend(moved);
                    }
                }
                for pipeline in PIPELINES {
                    let expected = model.get(pipeline).cloned().unwrap_or_default();
                    assert_eq!(files.load(pipeline).await.unwrap(), expected, "file, {pipeline}");
                    assert_eq!(memory.load(pipeline).await.unwrap(), expected, "memory, {pipeline}");
                }
            }
        });
        // Every name stayed inside the folder.
        for entry in fs::read_dir(&folder)? {
            prop_assert!(entry?.file_type()?.is_file());
        }
    }
}

#[tokio::test]
async fn tasks_of_one_pipeline_save_at_the_same_time() {
    let folder = folder("tasks");
    let store = open(&folder).await;
    let saves = (0..16).map(|task| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let moved = Offsets::from([(format!("t/{task}").into(), "7".into())]);
            store.save("orders", &moved).await.unwrap();
        })
    });
    for save in saves.collect::<Vec<_>>() {
        save.await.unwrap();
    }
    assert_eq!(open(&folder).await.load("orders").await.unwrap().len(), 16);
}

#[tokio::test]
async fn a_crash_while_saving_leaves_the_old_offsets() {
    let folder = folder("crash");
    let moved = Offsets::from([("t/0".into(), "7".into())]);
    open(&folder).await.save("orders", &moved).await.unwrap();
    fs::write(folder.join("orders.json.new"), "{\"pipeline\":\"ord").unwrap();
    let store = open(&folder).await;
    assert_eq!(store.load("orders").await.unwrap(), moved);
    store.save("orders", &Offsets::from([("t/1".into(), "8".into())])).await.unwrap();
    assert_eq!(store.load("orders").await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_damaged_file_is_named_and_never_overwritten() {
    let folder = folder("damaged");
    let store = open(&folder).await;
    let moved = Offsets::from([("t/0".into(), "7".into())]);
    store.save("orders", &moved).await.unwrap();
    let path = folder.join("orders.json");
    let whole = fs::read(&path).unwrap();
    for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..cut]).unwrap();
        for error in
            [store.load("orders").await.unwrap_err(), store.save("orders", &moved).await.unwrap_err()]
        {
            assert_eq!(error.kind(), ErrorKind::Config);
            let text = error.to_string();
            assert!(text.starts_with("the file of offsets is damaged: EOF while parsing"), "{text}");
            assert!(text.contains(&format!("path={}", path.display())), "{text}");
            assert!(text.ends_with("or delete it to read the source from its beginning"), "{text}");
        }
        assert_eq!(fs::read(&path).unwrap(), &whole[..cut]);
    }
    fs::write(folder.join("copy.json"), &whole).unwrap();
    let error = store.load("copy").await.unwrap_err();
    assert_eq!(error.says(), "the file of offsets is that of the pipeline `orders`");
}

#[tokio::test]
async fn a_path_that_is_a_file_is_a_mistake_of_the_configuration() {
    let path = folder("file").join("offsets");
    fs::write(&path, "").unwrap();
    let error = FilesConfig { path }.open().await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
}

async fn open(folder: &Path) -> Arc<dyn OffsetStore> {
    FilesConfig { path: folder.to_owned() }.open().await.expect("the folder opens")
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder for the test");
    folder
}
