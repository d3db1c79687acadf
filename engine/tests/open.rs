//! A model opened by path: notes as data, errors as data, and the same bits however its weights came into memory.

use fathom_arch::config::Overrides;
use fathom_engine::fit::{Asked, Room, Tight};
use fathom_engine::mmap::{MapError, Mapping, Watch};
use fathom_engine::open::{Note, Residence};
use fathom_engine::{Files, LoadError, Model, OpenError, OpenOptions, Session};
use fathom_fixtures::{assert_same_bits, convert, extend};
use fathom_simd::Kernels;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const TOKENS: [u32; 6] = [0, 5, 7, 11, 3, 9];

fn options() -> OpenOptions {
    OpenOptions { n_threads: 2, ..OpenOptions::new(Kernels::best()) }
}

fn overridden(text: &str) -> OpenOptions {
    OpenOptions { overrides: Overrides::parse(&[text]).unwrap(), ..options() }
}

#[test]
fn a_loaded_model_belongs_to_nobody_and_goes_anywhere() {
    fn goes_anywhere<T: Send + Sync + 'static>(_: &T) {}
    let file = convert("base", "q8_0");
    let (model, session) = Model::open(&file.path, options()).unwrap();
    goes_anywhere(&model);
    // The last session keeps the mapping, on whatever thread it is.
    let mut session = Session::new(&model, session).unwrap();
    drop(model);
    let logits = std::thread::spawn(move || extend(&mut session, &TOKENS, fathom_engine::Wanted::All));
    assert!(logits.join().unwrap().iter().all(|logit| logit.is_finite()));
}

#[test]
fn the_way_into_memory_changes_no_bit() {
    let file = convert("base", "q4_k");
    let n_bytes = std::fs::metadata(&file.path).unwrap().len();
    let mut all = Vec::new();
    for residence in [Residence::Mapped, Residence::Warm, Residence::Memory] {
        let files = Files::look(Mapping::open(&file.path).unwrap(), OpenOptions { residence, ..options() });
        let files = files.unwrap();
        assert_eq!((files.room(), files.notes()), (Room::InMemory, &[][..]));
        let (how, to_bring) = files.to_bring_in();
        assert_eq!((how, to_bring > 0), (residence, residence != Residence::Mapped));
        assert!(to_bring <= n_bytes);
        let (session, brought) = (files.options(), AtomicU64::new(0));
        let progress = |bytes| {
            brought.fetch_add(bytes, Ordering::Relaxed);
        };
        let watch = Watch { stop: &AtomicBool::new(false), progress: &progress };
        let model = Arc::new(files.load(watch).unwrap());
        assert_eq!(brought.into_inner(), to_bring, "{residence:?}");
        assert_eq!(model.is_in_memory(), residence != Residence::Mapped);
        let mut session = Session::new(&model, session).unwrap();
        all.push(extend(&mut session, &TOKENS, fathom_engine::Wanted::All));
    }
    for logits in &all[1..] {
        assert_same_bits(logits, &all[0], "another way into memory");
    }
}

#[test]
fn the_caller_may_stop_it() {
    let file = convert("base", "q8_0");
    for residence in [Residence::Warm, Residence::Memory] {
        let files = Files::look(Mapping::open(&file.path).unwrap(), OpenOptions { residence, ..options() });
        let stopped = files.unwrap().load(Watch { stop: &AtomicBool::new(true), progress: &|_| {} });
        assert!(matches!(stopped, Err(OpenError::Map(MapError::Stopped))), "{residence:?}");
    }
}

#[test]
fn what_is_to_tell_and_what_is_wrong_are_values() {
    let file = convert("base", "q8_0");
    let look = |options| Files::look(Mapping::open(&file.path).unwrap(), options);
    let files = look(overridden("deepseek32.expert_used_cuont=int:3")).unwrap();
    let [Note::IdleOverride { key, known }] = files.notes() else { panic!("{:?}", files.notes()) };
    assert_eq!(key, "deepseek32.expert_used_cuont");
    assert!(known.contains("deepseek32.expert_used_count"), "{known:?}");

    let broken = look(overridden("deepseek32.attention.kv_lora_rank=int:7")).err();
    assert!(matches!(broken, Some(OpenError::Load(LoadError::Overrides(_)))), "{broken:?}");

    // More context than any machine has memory for.
    let asked = Asked { n_ctx: Some(1 << 45), batch: None };
    let Some(OpenError::Misfit(misfit)) = look(OpenOptions { asked, ..options() }).err() else {
        panic!("it fits")
    };
    assert_eq!(misfit.wanted.n_ctx, 1 << 45);
    assert!(misfit.needed > misfit.usable && misfit.plan().nearest(misfit.wanted, misfit.usable).is_some());
    let forced = look(OpenOptions { asked, tight: Tight::Force, ..options() }).unwrap();
    assert_eq!((forced.room(), forced.options().n_ctx), (Room::OnDisk, 1 << 45));

    let missing = Model::open(Path::new("no such file"), options()).err();
    assert!(matches!(missing, Some(OpenError::Map(MapError::Io { .. }))), "{missing:?}");
}
