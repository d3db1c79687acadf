//! `fathom perplexity`: how well a model predicts a text, and how far it strays from a base.

use super::logits::FORCE;
use super::model::{Loaded, ModelArgs};
use super::tokenize::read_text;
use super::{Failure, print, signals};
use fathom_engine::Session;
use fathom_engine::mmap::{MapError, Mapping};
use fathom_files::output::Target;
use fathom_measure::perplexity::base::{Base, BaseError, BaseWriter, TopRow};
use fathom_measure::perplexity::divergence::{Divergence, PERCENTILES, Report, Sample};
use fathom_measure::perplexity::{Chunks, Estimate, Running, log_sum_exp};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::io::{ErrorKind, IsTerminal, stderr, stdout};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Compute a model's perplexity on a text, or compare two models.
///
/// As in llama.cpp, the text is cut into chunks of -c tokens (512 by default), and the second half of each chunk is scored.
/// The value so far is shown after each chunk; the last line on stdout is `PPL = VALUE +/- ERROR`.
///
/// To measure what a smaller file loses, save the predictions of the larger one and compare the smaller one with them:
///
/// fathom perplexity large.gguf -f text.txt --save-base large.base
///
/// fathom perplexity small.gguf --kl-base large.base
#[derive(clap::Args, Debug)]
#[command(mut_arg("force", |force| force.help(FORCE)), mut_arg("ctx_size", |size| size.help(CTX_SIZE)))]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Text file in UTF-8; - is stdin. Not needed with --kl-base, whose file contains the tokens.
    #[arg(short, long, value_name = "FILE", required_unless_present = "kl_base")]
    file: Option<PathBuf>,
    /// Maximum number of chunks to score [default: all].
    #[arg(long, value_name = "N")]
    chunks: Option<NonZeroUsize>,
    /// Write the model's predictions to this file, for comparing other models with it.
    #[arg(long, value_name = "FILE", conflicts_with = "kl_base")]
    save_base: Option<PathBuf>,
    /// How many of the likeliest tokens are saved at each position; all others are saved as one sum.
    #[arg(long, value_name = "K", default_value_t = 512, requires = "save_base")]
    base_top_k: usize,
    /// Compare with the predictions in this file: KL divergence, change of the right token's probability, how often the
    /// likeliest token is the same.
    #[arg(long, value_name = "FILE")]
    kl_base: Option<PathBuf>,
    /// Print one JSON object instead.
    #[arg(long)]
    json: bool,
}

/// Tokens of a chunk when -c is not given: llama.cpp's.
const DEFAULT_CTX: usize = 512;
/// What -c means here.
const CTX_SIZE: &str = "Number of tokens in a chunk [default: 512; with --kl-base, as in that file]";

/// Runs the verb.
///
/// # Errors
/// A model that cannot be loaded, a text too short, a base that does not fit, Ctrl-C.
pub fn run(args: Args) -> Result<(), Failure> {
    let mut save = args.save_target();
    if let Some(target) = &save {
        target.check()?;
    }
    let base_file = args.kl_base.as_deref().map(open_base).transpose()?;
    let base = match (&base_file, &args.kl_base) {
        (Some(file), Some(path)) => Some(Base::read(file.shards()).map_err(|e| base_failure(path, e))?),
        _ => None,
    };
    let mut model = args.model.clone();
    let n_ctx = base.as_ref().map(|base| base.chunks().n_ctx());
    model.ctx_size = n_ctx.or(model.ctx_size).or(Some(DEFAULT_CTX));
    let files = model.open()?;
    if let Some(target) = &mut save {
        target.inputs.extend(files.paths());
        target.check()?;
    }
    let loaded = files.load()?;
    let chunks = chunks(&args, &loaded, base.as_ref())?;
    if let (Some(base), Some(path)) = (&base, &args.kl_base) {
        base.check_vocabulary(loaded.model.config.vocab_size).map_err(|e| base_failure(path, e))?;
    }
    let signals = signals::listen()?;
    let mut work = Work {
        session: Session::new(&loaded.model, loaded.options)?,
        chunks: &chunks,
        stop: signals.flag(),
        show: !args.json,
        saves: save.is_some(),
        nll: Running::default(),
    };
    let started = Instant::now();
    let report = match (&base, &args.kl_base) {
        (Some(base), Some(path)) => Some(work.compare(base, path)?),
        _ => {
            work.measure(save.as_ref(), args.base_top_k, &loaded.name)?;
            None
        }
    };
    let ppl = work.nll.perplexity();
    if let Some(report) = &report {
        finite("the base's perplexity", report.base_ppl.value)?;
        finite("the KL divergence", report.kl.value)?;
    }
    let seconds = started.elapsed().as_secs_f64();
    if args.json {
        return print::json(&json_report(&chunks, ppl, report.as_ref(), seconds));
    }
    let mut text = report.as_ref().map(sheet).unwrap_or_default();
    text += &format!("PPL = {:.4} +/- {:.5}\n", ppl.value, ppl.error);
    print::answer(&text)
}

/// A figure that says something. Every logit was a number: what is none here came of numbers that cannot be a model's.
fn finite(what: &str, value: f64) -> Result<(), Failure> {
    if value.is_finite() {
        return Ok(());
    }
    Err(Failure::invalid(format!(
        "{what} is not a number: expected a finite figure, found {value}; the model's file is damaged, or its numbers overflow: \
         compare the file's checksum"
    )))
}

impl Args {
    /// Where the base goes, if one is wanted.
    fn save_target(&self) -> Option<Target> {
        let path = self.save_base.clone()?;
        let inputs = self.file.as_deref().into_iter().chain(self.model.path()).map(Path::to_owned).collect();
        Some(Target { replace: self.model.is_forced(), inputs, ..Target::new(path) })
    }
}

/// The file with another model's predictions.
fn open_base(path: &Path) -> Result<Mapping, Failure> {
    Mapping::open(path).map_err(|error| match error {
        MapError::Io { source, .. } if source.kind() == ErrorKind::NotFound => Failure::invalid(format!(
            "{0}: expected a file with another model's predictions, found no such file; `fathom perplexity OTHER.gguf -f \
             TEXT --save-base {0}` makes it",
            path.display()
        )),
        error => Failure::invalid(error),
    })
}

fn base_failure(path: &Path, error: BaseError) -> Failure {
    match error {
        BaseError::Output(error) => error.into(),
        other => Failure::invalid(format!("{}: {other}", path.display())),
    }
}

/// The text in chunks: the base's own, or the file's.
fn chunks(args: &Args, loaded: &Loaded, base: Option<&Base<'_>>) -> Result<Chunks, Failure> {
    let n_ctx = loaded.options.n_ctx;
    let of_file = match &args.file {
        None => None,
        Some(path) => {
            let tokens = loaded.tokenizer.encode_plain(&read_text(path)?);
            let bos = loaded.tokenizer.adds_bos().then(|| loaded.tokenizer.bos()).flatten();
            let chunks = Chunks::new(tokens, n_ctx, bos, args.chunks.map(NonZeroUsize::get))
                .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
            Some((path, chunks))
        }
    };
    let Some(base) = base else { return Ok(of_file.expect("a text or a base, says clap").1) };
    let wanted = base.chunks().first(args.chunks.map_or(usize::MAX, NonZeroUsize::get));
    match of_file {
        Some((path, chunks)) if !chunks.tokens().starts_with(wanted.tokens()) => {
            Err(Failure::usage(format!(
                "{}: expected the text that the base was made from, found other tokens; leave out --file, or make a base from \
                 this text",
                path.display()
            )))
        }
        _ => Ok(wanted),
    }
}

/// One walk over the text.
struct Work<'w> {
    session: Session,
    chunks: &'w Chunks,
    stop: &'static AtomicBool,
    /// Show running values on stdout.
    show: bool,
    /// A base is written.
    saves: bool,
    nll: Running,
}

impl Work<'_> {
    /// Perplexity alone, and a base file where one is wanted.
    fn measure(&mut self, save: Option<&Target>, top_k: usize, model: &str) -> Result<(), Failure> {
        let vocab_size = self.session.vocab_size();
        let create = |target: &Target| {
            BaseWriter::create(target, self.chunks, vocab_size, top_k, model)
                .map_err(|e| base_failure(&target.path, e))
        };
        let (mut writer, _unfinished) = signals::make_unfinished(
            || save.map(create).transpose(),
            |writer| writer.as_ref().map(BaseWriter::path),
        )?;
        let progress = Progress::new(self.chunks.len());
        for index in 0..self.chunks.len() {
            self.check_stop(index)?;
            let kept = writer.as_ref().map(BaseWriter::top_k);
            let rows = self.chunks.score(&mut self.session, index, |_, logits, target| {
                let nll = log_sum_exp(logits) - f64::from(logits[target as usize]);
                (nll, kept.map(|top_k| TopRow::new(logits, target, top_k)))
            });
            let rows = rows.map_err(|e| self.so_far(index, e.into()))?;
            let (nlls, tops): (Vec<f64>, Vec<Option<TopRow>>) = rows.into_iter().unzip();
            nlls.into_iter().for_each(|nll| self.nll.add(nll));
            if let (Some(writer), Some(target)) = (&mut writer, save) {
                let tops: Vec<TopRow> = tops.into_iter().flatten().collect();
                writer.chunk(&tops).map_err(|e| self.so_far(index + 1, base_failure(&target.path, e)))?;
            }
            self.chunk_done(index, &progress)?;
        }
        match (writer, save) {
            (Some(writer), Some(target)) => {
                let n_done = self.chunks.len();
                writer.finish().map_err(|e| self.so_far(n_done, base_failure(&target.path, e)))
            }
            _ => Ok(()),
        }
    }

    /// Perplexity, and how far the model is from the base.
    fn compare(&mut self, base: &Base<'_>, path: &Path) -> Result<Report, Failure> {
        let mut divergence = Divergence::default();
        let progress = Progress::new(self.chunks.len());
        for index in 0..self.chunks.len() {
            self.check_stop(index)?;
            let rows = base.chunk(index).map_err(|e| base_failure(path, e))?;
            let samples = self.chunks.score(&mut self.session, index, |row, logits, target| {
                Sample::new(logits, target, &rows.row(row))
            });
            for sample in samples.map_err(|e| self.so_far(index, e.into()))? {
                self.nll.add(sample.nll);
                divergence.add(sample);
            }
            self.chunk_done(index, &progress)?;
        }
        Ok(divergence.report())
    }

    fn check_stop(&self, n_done: usize) -> Result<(), Failure> {
        if !self.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let base = if self.saves { "; no base file was written" } else { "" };
        Err(self.so_far(n_done, Failure::interrupted(format!("stopped{base}"))))
    }

    /// The end of a walk that did not come to its own: what it found is said.
    fn so_far(&self, n_done: usize, why: Failure) -> Failure {
        if n_done == 0 {
            return why;
        }
        let Estimate { value, error } = self.nll.perplexity();
        let n_chunks = self.chunks.len();
        let message = format!(
            "{}\nPPL of the first {n_done} of {n_chunks} chunks = {value:.4} +/- {error:.5}",
            why.message
        );
        Failure { message, ..why }
    }

    /// Shows the running value, as llama.cpp does.
    fn chunk_done(&self, index: usize, progress: &Progress) -> Result<(), Failure> {
        let last = index + 1 == self.chunks.len();
        let value = self.nll.perplexity().value;
        finite("the perplexity", value)?;
        progress.bar.set_message(format!("PPL {value:.4}"));
        // A bar in the same terminal tells the value: it would wipe away a line that is not ended.
        if self.show && !progress.shares_terminal {
            let shown = progress.bar.suspend(|| {
                print::answer(&format!("[{}]{value:.4}{}", index + 1, if last { "\n" } else { "," }))
            });
            shown?;
        }
        progress.advance();
        Ok(())
    }
}

/// A bar on a terminal.
struct Progress {
    bar: ProgressBar,
    /// The answer goes there, too.
    shares_terminal: bool,
}

impl Progress {
    fn new(n_chunks: usize) -> Progress {
        let template = "{bar:20} {percent:>3} % chunk {pos} of {len}, {eta} left {msg}";
        let style = ProgressStyle::with_template(template).expect("the template is well formed");
        let is_drawn = stderr().is_terminal() && !print::is_quiet();
        let bar = if is_drawn { ProgressBar::new(n_chunks as u64) } else { ProgressBar::hidden() };
        Progress { bar: bar.with_style(style), shares_terminal: is_drawn && stdout().is_terminal() }
    }

    fn advance(&self) {
        self.bar.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The comparison as people read it.
fn sheet(report: &Report) -> String {
    let mut text = String::from("\n====== Perplexity statistics ======\n");
    let mut row = |name: &str, estimate: Estimate, factor: f64, unit: &str| {
        let (value, error) = (factor * estimate.value, factor * estimate.error);
        text += &format!("{name:<31}: {value:>10.6} +/- {error:>9.6}{unit}\n");
    };
    row("Mean PPL(Q)", report.ppl, 1.0, "");
    row("Mean PPL(base)", report.base_ppl, 1.0, "");
    row("Mean ln(PPL(Q)/PPL(base))", report.ln_ratio, 1.0, "");
    row("Mean PPL(Q)/PPL(base)", report.ratio, 1.0, "");
    row("Mean PPL(Q)-PPL(base)", report.difference, 1.0, "");
    let list = |title: &str, name: &str, values: &[f64; 13], factor: f64, unit: &str| {
        let mut text = format!("\n====== {title} ======\n");
        for (percent, value) in PERCENTILES.iter().zip(values) {
            let label = match *percent {
                100.0 => format!("Maximum {name}"),
                50.0 => format!("Median  {name}"),
                0.0 => format!("Minimum {name}"),
                percent => format!("{percent:>5.1} % {name}"),
            };
            text += &format!("{label:<31}: {:>10.6}{unit}\n", factor * value);
        }
        text
    };
    let percent = |name: &str, estimate: Estimate| {
        format!("{name:<31}: {:>10.4} +/- {:>9.4} %\n", 100.0 * estimate.value, 100.0 * estimate.error)
    };
    text += &format!("{:<31}: {:>10.4} %\n", "Cor(ln(PPL(Q)), ln(PPL(base)))", 100.0 * report.correlation);
    text += &list("KL divergence statistics", "KLD", &report.kl_percentiles, 1.0, "");
    text += &format!("{:<31}: {:>10.6} +/- {:>9.6}\n", "Mean    KLD", report.kl.value, report.kl.error);
    text += &list("Token probability statistics", "dp", &report.delta_p_percentiles, 100.0, " %");
    text += &percent("Mean    dp", report.delta_p);
    text += &percent("RMS     dp", report.rms_delta_p);
    text += &percent("Same top p", report.same_top);
    text
}

fn json_report(chunks: &Chunks, ppl: Estimate, report: Option<&Report>, seconds: f64) -> Value {
    let estimate = |e: Estimate| json!({"value": e.value, "error": e.error});
    let mut all = json!({
        "chunks": chunks.len(),
        "n_ctx": chunks.n_ctx(),
        "scored_tokens": chunks.len() * chunks.n_scored(),
        "ppl": estimate(ppl),
        "seconds": seconds,
    });
    if let Some(report) = report {
        let list = |values: &[f64; 13]| -> Value {
            PERCENTILES
                .iter()
                .zip(values)
                .map(|(percent, value)| (percent.to_string(), json!(value)))
                .collect()
        };
        all["base_ppl"] = estimate(report.base_ppl);
        all["correlation"] = json!(report.correlation);
        all["ln_ppl_ratio"] = estimate(report.ln_ratio);
        all["ppl_ratio"] = estimate(report.ratio);
        all["ppl_difference"] = estimate(report.difference);
        all["kl_divergence"] = estimate(report.kl);
        all["kl_divergence_percentiles"] = list(&report.kl_percentiles);
        all["delta_p"] = estimate(report.delta_p);
        all["rms_delta_p"] = estimate(report.rms_delta_p);
        all["delta_p_percentiles"] = list(&report.delta_p_percentiles);
        all["same_top"] = estimate(report.same_top);
    }
    all
}
