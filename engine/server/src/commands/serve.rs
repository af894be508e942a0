//! `orderlog serve`: starts, prints the addresses, and stops on a signal.

use anyhow::Context;
use futures_util::future::OptionFuture;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::{
    config::{Config, LogFormat, LogUrl, Storage},
    output,
    registry::Registry,
    server::{self, StartError},
    telemetry::otlp,
};

/// Serves until SIGTERM or SIGINT.
pub async fn run(registry: &'static Registry, config: Config, is_quiet: bool) -> anyhow::Result<()> {
    tell(&config.options.storage, if is_quiet { "warn" } else { "info,poem=warn,sqlx=warn,opentelemetry=warn" })?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be listened for")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT can't be listened for")?;
    let options = &config.options;
    let traces = options.otlp_endpoint.as_deref();
    let traces = traces
        .map(|to| otlp::begin(to, options.security.trust.ca.as_deref(), options.trace_ratio, &config.services))
        .transpose()?;
    let running = server::start(registry, config.clone()).await.map_err(StartError::with_exit)?;
    if !is_quiet {
        greet(registry, &config, &running.url());
    }
    tracing::info!("started at {}", running.url());
    let size = config.options.demo.flatten();
    let demo = registry.demo.zip(running.demo_key()).map(|(play, key)| play(registry, running.own_url(), key, size));
    let demo = async move {
        // The services continue, whatever the outcome of the demo.
        if let Some(Err(error)) = OptionFuture::from(demo).await {
            tracing::error!("the demo stopped: {error:#}");
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = demo => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: not ready any more; a second signal stops at once");
    tokio::select! {
        () = running.stop() => {}
        _ = terminate.recv() => anyhow::bail!("stopped at once; the next start reads from the log what the rows lack"),
        _ = interrupt.recv() => anyhow::bail!("stopped at once; the next start reads from the log what the rows lack"),
    }
    if let Some(traces) = traces {
        traces.end().await;
    }
    tracing::info!("stopped");
    Ok(())
}

/// Starts logging to stderr.
pub fn tell(storage: &Storage, default: &str) -> anyhow::Result<()> {
    let filter = storage.log_filter.as_deref().unwrap_or(default);
    let filter = EnvFilter::try_new(filter).with_context(|| format!("the log filter {filter} can't be understood"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(output::Stream::Stderr.has_colour())
        // Otherwise it would print write errors to stderr, and panic if that fails too.
        .log_internal_errors(false)
        .with_writer(|| output::Notes);
    // If several commands run in one process, the first one sets it up.
    drop(match storage.log_format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_span_list(false).try_init(),
    });
    Ok(())
}

fn greet(registry: &Registry, config: &Config, url: &str) {
    let options = &config.options;
    let names: Vec<&str> = config.services.iter().map(|service| service.as_str()).collect();
    let (data, log) = match &options.storage.log {
        LogUrl::Embedded => ("data", "embedded, in the data folder".to_owned()),
        LogUrl::Kafka(brokers) => ("read models", format!("Kafka at {brokers}")),
    };
    output::tell(&format!("\n  {} {} is listening at {url}\n", registry.about.name, env!("CARGO_PKG_VERSION")));
    output::tell(&format!("  {:<12} {}", "services", names.join(", ")));
    output::tell(&format!("  {:<12} {url}/docs", "Swagger UI"));
    output::tell(&format!("  {:<12} {url}/readyz", "readiness"));
    output::tell(&format!("  {:<12} {log}", "log"));
    output::tell(&format!("  {data:<12} {}", options.storage.data.display()));
    if let Some(file) = options.security.operator_key_file.as_ref().filter(|file| file.exists()) {
        output::tell(&format!("  {:<12} in {}", "operator key", file.display()));
    }
    output::tell("\n  Ctrl-C stops it. What was acknowledged is kept.\n");
}
