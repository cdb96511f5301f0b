//! Attribute names of spans, in addition to the event's properties (which have OpenTelemetry names already).
//!
//! HTTP: semantic conventions 1.45.0. Stable, except for body sizes, which are in development there. Generative AI: the
//! conventions of `llm/names`, all in development. Names of backends: `compat`.

/// `http.request.method`: the method, or [`OTHER_METHOD`].
pub(super) const METHOD: &str = "http.request.method";
/// The original method, if it is not one of [`KNOWN_METHODS`].
pub(super) const METHOD_ORIGINAL: &str = "http.request.method_original";
/// The number of retries so far.
pub(super) const RESEND_COUNT: &str = "http.request.resend_count";
/// Bytes of the request's body, as sent.
pub(super) const REQUEST_SIZE: &str = "http.request.body.size";
/// Bytes of the response's body, as received.
pub(super) const RESPONSE_SIZE: &str = "http.response.body.size";
/// The whole URL, secrets masked.
pub(super) const URL: &str = "url.full";
/// `http`.
pub(super) const PROTOCOL: &str = "network.protocol.name";
/// The port that was dialled.
pub(super) const PEER_PORT: &str = "network.peer.port";
/// The system prompt, as JSON.
pub(super) const SYSTEM_INSTRUCTIONS: &str = "gen_ai.system_instructions";
/// The tools that the model may call, as JSON.
pub(super) const TOOL_DEFINITIONS: &str = "gen_ai.tool.definitions";
/// The messages of the request, as JSON.
pub(super) const INPUT_MESSAGES: &str = "gen_ai.input.messages";
/// The answer, as JSON.
pub(super) const OUTPUT_MESSAGES: &str = "gen_ai.output.messages";
/// The arguments of a call to a tool.
pub(super) const TOOL_ARGUMENTS: &str = "gen_ai.tool.call.arguments";
/// Its result.
pub(super) const TOOL_RESULT: &str = "gen_ai.tool.call.result";
/// The id that ties the call to a tool to its result.
pub(super) const TOOL_CALL_ID: &str = "gen_ai.tool.call.id";
/// What kind of tool it is: `function`.
pub(super) const TOOL_TYPE: &str = "gen_ai.tool.type";
/// Why an operation failed.
pub(super) const ERROR_TYPE: &str = "error.type";
/// The tool took at most as long as its span: true.
pub(super) const UPPER_BOUND: &str = "otas_proxy.tool.duration_is_upper_bound";
/// No call brought the tool's result: true.
pub(super) const NO_RESULT: &str = "otas_proxy.tool.has_no_result";
/// The number of model calls of a turn.
pub(super) const TURN_CALLS: &str = "otas_proxy.turn.calls";
/// Why a turn is over.
pub(super) const TURN_END: &str = "otas_proxy.turn.end";
/// Some of the content is missing: true.
pub(super) const CONTENT_CUT: &str = "otas_proxy.content.cut";
/// The instrumentation scope.
pub(super) const SERVICE_NAME: &str = "service.name";
/// Its version.
pub(super) const SERVICE_VERSION: &str = "service.version";
/// The event's id, as in `metadata.event.id`.
pub(super) const EVENT_ID: &str = "otas_proxy.event.id";
/// The run of the proxy, as in `metadata.proxy.run_id`.
pub(super) const RUN_ID: &str = "otas_proxy.run.id";
/// What kind of event it is, as in `metadata.kind`.
pub(super) const KIND: &str = "otas_proxy.kind";

/// Replaces an unknown method.
pub(super) const OTHER_METHOD: &str = "_OTHER";
/// The known methods: those of RFC 9110, RFC 5789 and `QUERY`.
pub(super) const KNOWN_METHODS: [&str; 10] =
    ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"];

/// Properties that are lists in OpenTelemetry, and comma-separated text here.
pub(super) const LISTS: [&str; 1] = ["gen_ai.response.finish_reasons"];
