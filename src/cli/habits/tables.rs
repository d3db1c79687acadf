//! The words of other programs, and what stands for them here.

/// What is done with a flag of another program.
#[derive(Clone, Copy, Debug)]
pub(super) enum Habit {
    /// It is another name of this flag.
    Is(&'static str),
    /// It asks for what is always so, or for what would change nothing but speed or memory: it is left out, with a note that
    /// says why. What would change an answer is never left out.
    Always {
        /// Values that ask for it, `*` for any; none: it takes no value.
        values: &'static [&'static str],
        /// It cannot stand without one.
        needs: bool,
        why: &'static str,
        /// The refusal of other values.
        otherwise: &'static str,
    },
    /// Its value decides which of our flags it is.
    ByValue(&'static [(&'static str, &'static [&'static str])]),
    /// Nothing here does that, or something that has no flag: the sentence says what.
    No(&'static str),
}

/// Flags with one fate.
pub(super) struct Row {
    /// As they are typed; a star at the end stands for any rest.
    pub names: &'static [&'static str],
    /// The commands it is about; none: all.
    pub verbs: &'static [&'static str],
    pub habit: Habit,
}

const fn is(names: &'static [&'static str], flag: &'static str) -> Row {
    Row { names, verbs: &[], habit: Habit::Is(flag) }
}

const fn no(names: &'static [&'static str], why: &'static str) -> Row {
    Row { names, verbs: &[], habit: Habit::No(why) }
}

const fn always(names: &'static [&'static str], why: &'static str) -> Row {
    Row { names, verbs: &[], habit: Habit::Always { values: &[], needs: false, why, otherwise: "" } }
}

/// For some commands only.
const fn on(verbs: &'static [&'static str], row: Row) -> Row {
    Row { verbs, ..row }
}

/// With values that ask for what is always so, and the refusal of others.
const fn needs(row: Row, values: &'static [&'static str], otherwise: &'static str) -> Row {
    match row.habit {
        Habit::Always { why, .. } => {
            Row { habit: Habit::Always { values, needs: true, why, otherwise }, ..row }
        }
        _ => row,
    }
}

/// The same for a flag that may stand without a value.
const fn may_say(row: Row, values: &'static [&'static str], otherwise: &'static str) -> Row {
    match row.habit {
        Habit::Always { why, .. } => {
            Row { habit: Habit::Always { values, needs: false, why, otherwise }, ..row }
        }
        _ => row,
    }
}

/// With a value, whatever it is.
const fn any(row: Row) -> Row {
    needs(row, &["*"], "")
}

const YES: &[&str] = &["on", "auto", "true", "1"];
const YES_OR_NO: &[&str] = &["on", "auto", "true", "1", "off", "false", "0"];
const ON_CPU: &str = "there is no GPU support; all layers run on the CPU";
const NO_DOWNLOAD: &str = "Fathom downloads nothing; `hf download ORG/NAME` does, then name the file or folder as MODEL, or give \
                           the checkpoint to `fathom quantize`";
const NO_SAMPLER: &str =
    "Fathom has no such sampler; it has --top-k, --top-p, --min-p, --typical, the penalties and DRY";
const NO_DRAFT: &str = "there is no speculative decoding; answers are the same without it";
const NO_ADAPTER: &str = "adapters and control vectors are not supported; convert a merged checkpoint";
const NO_MEDIA: &str = "the model reads only text; /read in a chat and --file put text files into a prompt";
const NO_SERVER: &str = "Fathom has no server; programs can call `fathom run --json`";
const NO_LOG: &str = "Fathom writes no log; notes go to stderr, and --quiet leaves them out";
const NOTHING_TO_SET: &str = "Fathom has nothing of that kind to set";
const NUMA: &str = "threads and weights are always placed by memory node; `taskset` or `numactl` keep the program to some nodes";
const BATCHES: &str = "one conversation runs at a time";
const ROPE: &str = "rotary positions and YaRN are the model's own numbers; --override-kv KEY=float:VALUE replaces one (`fathom \
                    inspect` lists the keys)";
const CACHE: &str = "prompts are cached automatically (`fathom cache ls` lists them); --no-cache turns that off, \
                     --cache-limit limits the size";
const TEMPLATE: &str = "the chat format comes from the model file; --think turns reasoning on, `fathom run --raw` uses no \
                        chat format";
const AFFINITY: &str =
    "start it under `taskset` or `numactl`: threads keep to the processors that the process may use";
const BOTH_CACHES: &str = "keys and values are one latent row in this model; --cache-type sets its format, --index-cache that of \
                           the index keys";

/// Flags of llama.cpp's and ollama's programs. The first row that fits counts; flags of ours never get here.
pub(super) static FLAGS: &[Row] = &[
    // Other names.
    is(&["-ub", "--ubatch-size"], "--batch-size"),
    is(&["-ctk", "--cache-type-k"], "--cache-type"),
    is(&["-sys"], "--system"),
    is(&["--max-tokens", "--max-new-tokens", "--num-predict"], "--n-predict"),
    is(&["--num-ctx", "--n-ctx", "--context", "--context-size", "--context-length"], "--ctx-size"),
    is(&["--num-threads", "--n-threads"], "--threads"),
    is(&["--resume"], "--continue"),
    is(&["-jf"], "--json-schema-file"),
    is(&["-no-cnv", "--no-conversation"], "--raw"),
    is(&["--log-disable", "--no-perf", "--no-show-timings"], "--quiet"),
    is(&["--no-cache-prompt"], "--no-cache"),
    is(&["--hidethinking"], "--hide-thinking"),
    on(&["quantize"], is(&["--outfile"], "--output")),
    on(&["quantize"], is(&["--outtype"], "--type")),
    on(&["quantize"], is(&["--model-name"], "--name")),
    on(&["quantize"], is(&["--output-tensor-type"], "--head")),
    on(&["quantize"], is(&["--token-embedding-type"], "--embed")),
    Row {
        names: &["-rea", "--reasoning"],
        verbs: &["chat", "run"],
        habit: Habit::ByValue(&[("on", &["--think"]), ("off", &["--no-think"]), ("auto", &[])]),
    },
    Row {
        names: &["--format"],
        verbs: &["chat", "run"],
        habit: Habit::ByValue(&[("json", &["--json-schema", "{}"])]),
    },
    // What is so in any case.
    may_say(
        always(&["-fa", "--flash-attn"], "attention never stores the whole matrix of scores"),
        YES_OR_NO,
        "",
    ),
    may_say(
        always(&["-co", "--color"], "colours are used where the terminal supports them"),
        YES,
        "set the variable NO_COLOR=1 to have no colours",
    ),
    always(&["--jinja"], "the chat format always comes from the model file"),
    on(
        &["chat", "run"],
        always(&["-cnv", "--conversation"], "the model's chat format is used unless `run --raw` is given"),
    ),
    on(
        &["chat"],
        always(
            &["-i", "--interactive", "-if", "--interactive-first"],
            "a chat on a terminal is always interactive",
        ),
    ),
    on(&["chat"], always(&["-mli", "--multiline-input"], "Alt-Enter begins a new line in a message")),
    on(&["run"], always(&["-st", "--single-turn"], "`fathom run` ends with its answer")),
    always(&["--no-display-prompt"], "the prompt is not repeated"),
    always(&["--no-context-shift"], "nothing is dropped from a full context"),
    always(&["--cache-prompt"], "computed prompts are always cached; --no-cache turns that off"),
    always(&["--no-escape"], "backslashes in a prompt always stay as they are"),
    always(&["--offline"], "Fathom never uses the network"),
    on(&["chat", "run"], always(&["--stream"], "answers are shown as they come, and --jsonl streams JSON")),
    always(&["--no-mmproj"], "the model reads only text"),
    always(&["--show-timings", "--perf"], "speeds are shown after every answer"),
    always(&["--mmap"], "model files are mapped unless --no-mmap is given"),
    always(&["--warmup"], "the model is warmed up unless --no-warmup is given"),
    // What would change nothing but speed or memory: where and how to compute.
    always(&["-kvo", "--kv-offload", "-nkvo", "--no-kv-offload", "-cmoe", "--cpu-moe"], ON_CPU),
    always(&["--op-offload", "--no-op-offload"], ON_CPU),
    any(always(&["-ngl", "--gpu-layers", "--n-gpu-layers", "-ncmoe", "--n-cpu-moe"], ON_CPU)),
    any(always(&["-dev", "--device", "-ot", "--override-tensor", "-mg", "--main-gpu"], ON_CPU)),
    any(always(&["-sm", "--split-mode", "-ts", "--tensor-split", "-fitt", "--fit-target"], ON_CPU)),
    any(always(&["-fit", "--fit", "-fitc", "--fit-ctx"], ON_CPU)),
    any(always(&["--numa"], NUMA)),
    any(always(&["-tb", "--threads-batch"], "--threads applies to both prompt and answer")),
    any(always(&["-C", "--cpu-mask", "-Cr", "--cpu-range", "--cpu-strict"], AFFINITY)),
    any(always(&["-Cb*", "--cpu-mask-batch", "--cpu-range-batch", "--cpu-strict-batch"], AFFINITY)),
    any(always(&["--prio*", "--poll*"], "start it under `nice`; idle threads yield their processors")),
    any(always(&["-dt", "--defrag-thold"], NOTHING_TO_SET)),
    always(&["--swa-full", "-nr", "--no-repack", "--repack", "--no-host"], NOTHING_TO_SET),
    always(
        &["--check-tensors"],
        "tensors are not checked when they are loaded; a result that is not a number is an error",
    ),
    always(&["-kvu", "--kv-unified", "-no-kvu", "--no-kv-unified"], BATCHES),
    always(&["-cb", "--cont-batching", "-nocb", "--no-cont-batching"], BATCHES),
    always(&["-dio", "--direct-io"], "files are mapped; --no-mmap reads them into memory instead"),
    always(&["-bs", "--backend-sampling"], ON_CPU),
    always(&["--prompt-cache-all"], CACHE),
    no(&["--prompt-cache-ro"], "`--no-cache` neither reads nor writes the prompt cache"),
    any(always(&["--prompt-cache", "--cache-reuse", "-cram", "--cache-ram", "-ctxcp"], CACHE)),
    any(always(&["-md", "--model-draft", "--draft*", "-ngld", "-devd", "-ctkd", "-ctvd"], NO_DRAFT)),
    any(always(&["--lookup*", "-lcs", "-lcd", "--spec-type"], NO_DRAFT)),
    always(&["-v", "--verbose", "--log-prefix", "--log-timestamps"], NO_LOG),
    any(always(&["-lv", "--verbosity", "--log-verbosity"], NO_LOG)),
    may_say(always(&["--log-colors"], NO_LOG), YES_OR_NO, ""),
    on(
        &["bench"],
        needs(always(&["-mmp"], "model files are always mapped"), &["1"], "bench always maps the model file"),
    ),
    on(
        &["tokenize"],
        always(&["--ids", "--no-bos", "--no-parse-special"], "only ids are printed, without BOS"),
    ),
    // What has no flag.
    no(&["-ctv", "--cache-type-v"], BOTH_CACHES),
    no(
        &["-hf", "-hfr", "--hf-repo", "-hff", "--hf-file", "-hft", "--hf-token", "-mu", "--model-url"],
        NO_DOWNLOAD,
    ),
    no(&["-dr", "--docker-repo"], NO_DOWNLOAD),
    no(&["-no-cnv", "--no-conversation"], "`fathom run --raw` continues a text without the chat format"),
    no(&["-st", "--single-turn"], "`fathom run` answers one prompt and ends"),
    no(
        &["-i", "--interactive", "-if", "--interactive-first", "-cnv", "--conversation"],
        "`fathom chat` is a conversation",
    ),
    no(&["-sysf", "--system-prompt-file"], "--system \"$(cat FILE)\" takes the system prompt from a file"),
    no(&["--list-devices"], "there is no GPU support; `fathom doctor` shows this machine"),
    no(&["--rpc"], "Fathom runs on one machine; leave it out"),
    no(&["--rope-*", "--yarn-*"], ROPE),
    no(
        &["--grammar", "--grammar-file"],
        "Fathom has no GBNF grammars; --json-schema gives structured output",
    ),
    no(
        &["--mirostat*", "--xtc-*", "--dynatemp-*", "--top-nsigma", "--top-n-sigma", "--adaptive-*"],
        NO_SAMPLER,
    ),
    no(
        &["--samplers", "--sampling-seq", "--sampler-seq"],
        "samplers run in llama.cpp's default \
        order; the help of each says how to turn it off",
    ),
    no(
        &["--ignore-eos"],
        "--logit-bias ID-inf with the id of the model's end token (`fathom inspect` shows it) keeps an answer \
        from ending",
    ),
    no(
        &["--keep", "--context-shift", "-gan", "-gaw", "--grp-attn-*"],
        "nothing is dropped from a full context: the answer ends; \
        --ctx-size makes it larger",
    ),
    no(&["--slot-*"], CACHE),
    no(&["--reasoning-format"], "reasoning is always kept apart: on stderr, and in `reasoning` of --json"),
    no(&["--chat-template*", "--no-jinja", "--skip-chat-parsing"], TEMPLATE),
    no(&["--in-prefix*", "--in-suffix"], TEMPLATE),
    no(
        &["-e", "--escape"],
        "backslashes in a prompt stay as they are; $'line\\nline' makes line breaks in bash",
    ),
    no(
        &["--display-prompt", "--verbose-prompt"],
        "the prompt is not repeated; `fathom tokenize` shows its tokens",
    ),
    no(&["--simple-io"], "--no-markdown prints answers unformatted; output to pipes and files always is"),
    no(&["-sp"], "control tokens are never shown in an answer"),
    no(&["-bf", "--binary-file"], "--file takes a text file"),
    no(&["--spec-*"], "there is no speculative decoding; leave it out"),
    no(&["--lora*", "--control-vector*"], NO_ADAPTER),
    no(&["-mm", "--mmproj*", "--image*", "--audio"], NO_MEDIA),
    no(
        &["--host", "--port", "--api-key*", "-np", "--parallel", "--path", "--slots", "--no-webui"],
        NO_SERVER,
    ),
    no(&["--keepalive", "--insecure"], NO_SERVER),
    no(&["--log-*"], NO_LOG),
    no(&["--nowordwrap"], "--no-markdown prints answers unformatted"),
    // One command's.
    on(&["chat"], no(&["--list", "--sessions"], "`/list` in the chat shows the saved conversations")),
    on(&["run", "tokenize"], no(&["--stdin"], "`--file -` reads stdin")),
    on(&["tokenize"], no(&["-p", "--prompt"], "the text is the last word: `fathom tokenize MODEL \"TEXT\"`")),
    on(&["tokenize"], no(&["--show-count"], "`| wc -w` counts the ids")),
    on(
        &["bench"],
        no(&["-pg"], "-p and -n measure prompts and answers separately; -d fills the cache first"),
    ),
    on(
        &["bench"],
        no(
            &["-oe", "--progress", "--delay", "-embd", "--embeddings"],
            "bench writes only its table to stdout; leave it out",
        ),
    ),
    on(
        &["perplexity"],
        no(
            &["--kl-divergence*", "--ppl-*"],
            "--save-base FILE writes what a model predicts, --kl-base FILE compares another \
            with it",
        ),
    ),
    on(
        &["perplexity"],
        no(
            &["--hellaswag*", "--winogrande*", "--multiple-choice*"],
            "Fathom computes only perplexity and KL divergence",
        ),
    ),
    on(
        &["quantize"],
        no(&["--imatrix", "--include-weights", "--exclude-weights"], "importance matrices are not read yet"),
    ),
    on(&["quantize"], no(&["--pure"], "name one type for every matrix, such as --type q4_k")),
    on(
        &["quantize"],
        no(&["--leave-output-tensor"], "--head sets the type of the output matrix, such as --head bf16"),
    ),
    on(&["quantize"], no(&["--allow-requantize"], "quantize reads a checkpoint, never a GGUF file")),
    on(
        &["quantize"],
        no(
            &["--keep-split", "--split-*"],
            "the output is always one file, which llama.cpp and Fathom can map as it is",
        ),
    ),
];

/// What other programs have below a command, and what stands for it here.
pub(super) const SUBCOMMANDS: &[(&str, &[&str], &str)] = &[
    (
        "config",
        &["set", "get", "edit", "unset", "list", "ls"],
        "settings are text files: `fathom config path` says where, `fathom config show` prints them (docs/settings.md)",
    ),
    (
        "cache",
        &["clear", "clean", "delete", "remove", "purge", "prune"],
        "`fathom cache rm --all` removes everything, `fathom cache rm NAME` what is cached for one model",
    ),
    ("cache", &["list", "show", "info", "size"], "`fathom cache ls` lists what is cached"),
    ("cache", &["check"], "`fathom cache verify` checks what is cached"),
];

/// Commands of ollama, LM Studio, Hugging Face and llama.cpp that are none here.
pub(super) const COMMANDS: &[(&[&str], &str)] = &[
    (
        &["pull", "get", "download", "login", "search"],
        "Fathom does not download models; use `hf download deepseek-ai/DeepSeek-V3.2`, then `fathom quantize` (docs/workstation.md)",
    ),
    (
        &["serve", "server", "start", "ps", "status", "stop", "load", "unload", "log"],
        "Fathom has no server, and a model is loaded while `fathom chat` or `fathom run` uses it",
    ),
    (
        &["rm", "cp", "push", "import", "create", "signin", "signout"],
        "models are plain files (`fathom models` shows where); an \
        alias in the settings gives one a name (docs/settings.md)",
    ),
    (&["convert", "quantise"], "`fathom quantize DIR --type q4_k_m -o OUT.gguf` converts a checkpoint"),
    (
        &["generate", "complete", "completion", "cli", "prompt", "ask"],
        "`fathom run \"TEXT\"` answers a prompt",
    ),
    (&["llama-bench", "benchmark"], "`fathom bench` measures a model"),
    (&["imatrix", "embed", "embedding", "tts", "mtmd", "finetune"], "Fathom has no such command"),
    (&["update", "upgrade"], "update Fathom the way you installed it, with cargo"),
];
