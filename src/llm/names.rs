//! What the facts of a call to a model are called, in one place: OpenTelemetry's names for generative AI and MCP (all of
//! them still "development" there, and renamed now and then), and our own where it has none.
//!
//! All are names in `custom_properties`, whose values are flat: a list is one text, its parts joined by a comma. What is not
//! known is absent, never 0.

/// The version of OpenTelemetry's conventions that the names below follow (`open-telemetry/semantic-conventions-genai`).
pub const SEMCONV_VERSION: &str = "0.1.0";
/// Where [`SEMCONV_VERSION`] stands in an event that has any of these names.
pub const SEMCONV: &str = "otas.semconv.gen_ai";

/// Whose interface it is: `openai`, `anthropic`, `gcp.gemini`, …. Absent for a server that only speaks another's interface.
pub const PROVIDER: &str = "gen_ai.provider.name";
/// `chat`, `generate_content`, `embeddings`, `execute_tool`, `fetch_response`, ….
pub const OPERATION: &str = "gen_ai.operation.name";
/// `text`, `json`, `image` or `speech`, where the request asks for one.
pub const OUTPUT_TYPE: &str = "gen_ai.output.type";
/// The conversation that the call belongs to, where the request or the reply names one.
pub const CONVERSATION: &str = "gen_ai.conversation.id";

/// The model asked for.
pub const REQUEST_MODEL: &str = "gen_ai.request.model";
/// Whether a streamed answer was asked for: true or false.
pub const REQUEST_STREAM: &str = "gen_ai.request.stream";
/// The most output tokens asked for.
pub const REQUEST_MAX_TOKENS: &str = "gen_ai.request.max_tokens";
/// Sampling temperature.
pub const REQUEST_TEMPERATURE: &str = "gen_ai.request.temperature";
/// Nucleus sampling.
pub const REQUEST_TOP_P: &str = "gen_ai.request.top_p";
/// Sampling from the k likeliest.
pub const REQUEST_TOP_K: &str = "gen_ai.request.top_k";
/// Penalty for frequent tokens.
pub const REQUEST_FREQUENCY_PENALTY: &str = "gen_ai.request.frequency_penalty";
/// Penalty for tokens that are there already.
pub const REQUEST_PRESENCE_PENALTY: &str = "gen_ai.request.presence_penalty";
/// The seed of the sampling.
pub const REQUEST_SEED: &str = "gen_ai.request.seed";
/// How many answers were asked for, if not one.
pub const REQUEST_CHOICES: &str = "gen_ai.request.choice.count";
/// How many dimensions embeddings were asked to have.
pub const EMBEDDING_DIMENSIONS: &str = "gen_ai.embeddings.dimension.count";
/// The form that embeddings were asked for in.
pub const REQUEST_ENCODING: &str = "gen_ai.request.encoding_formats";
/// The response that the request continues.
pub const REQUEST_PREVIOUS: &str = "gen_ai.request.previous_response.id";

/// The model that answered.
pub const RESPONSE_MODEL: &str = "gen_ai.response.model";
/// The answer's id.
pub const RESPONSE_ID: &str = "gen_ai.response.id";
/// Why the model stopped, as the provider says it; of several answers each.
pub const FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
/// Seconds from the request being forwarded to the first piece of a streamed answer.
pub const TIME_TO_FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";

/// Tokens that went in, those read from and written to a cache among them.
pub const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
/// Tokens that came out, those of reasoning among them.
pub const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
/// Input tokens read from the provider's cache.
pub const CACHE_READ_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
/// Input tokens written to the provider's cache.
pub const CACHE_WRITE_TOKENS: &str = "gen_ai.usage.cache_write.input_tokens";
/// Output tokens spent on reasoning.
pub const REASONING_TOKENS: &str = "gen_ai.usage.reasoning.output_tokens";

/// The tool that an MCP call runs.
pub const TOOL: &str = "gen_ai.tool.name";
/// The method of an MCP message: `tools/call`, ….
pub const MCP_METHOD: &str = "mcp.method.name";
/// The session of an MCP server (revisions up to 2025-11-25).
pub const MCP_SESSION: &str = "mcp.session.id";
/// The revision of MCP that is spoken.
pub const MCP_VERSION: &str = "mcp.protocol.version";
/// The resource that an MCP call is about.
pub const MCP_RESOURCE: &str = "mcp.resource.uri";
/// The id of a JSON-RPC request.
pub const JSONRPC_ID: &str = "jsonrpc.request.id";

/// The code of a JSON-RPC error.
pub const RPC_STATUS: &str = "rpc.response.status_code";

/// The interface that is spoken, whoever the provider is: `openai.chat`, `anthropic.messages`, …
pub const API: &str = "otas_proxy.llm.api";
/// The tools that the model called, by name, in their order.
pub const TOOL_CALLS: &str = "otas_proxy.llm.tool_calls";
/// How many calls of tools the model made.
pub const TOOL_CALL_COUNT: &str = "otas_proxy.llm.tool_call_count";
/// Seconds from the request being forwarded to the first piece of text, reasoning or a tool call.
pub const TIME_TO_FIRST_TOKEN: &str = "otas_proxy.llm.time_to_first_token";
/// Output tokens a second from the first piece of content to the last.
pub const TOKENS_PER_SECOND: &str = "otas_proxy.llm.output_tokens_per_second";
/// The longest time between two pieces of content, in seconds.
pub const LONGEST_GAP: &str = "otas_proxy.llm.longest_gap";
/// The provider's id of the request, for its support.
pub const PROVIDER_REQUEST_ID: &str = "otas_proxy.llm.provider_request_id";
/// An MCP result says of itself that it is an error: true.
pub const TOOL_ERROR: &str = "otas_proxy.llm.tool_error";
/// What the call cost, by the user's own table of prices.
pub const COST: &str = "otas_proxy.llm.cost";
/// The currency that [`COST`] is in.
pub const COST_CURRENCY: &str = "otas_proxy.llm.cost.currency";
/// The version of the table of prices that [`COST`] was told by.
pub const COST_PRICES: &str = "otas_proxy.llm.cost.prices";

/// Why facts are missing that were looked for: a reply could not be read, or not to its end.
pub const PARSE_ERROR: &str = "otas.parse_error";

/// How the names begin by which a call to a model, or to a tool of one, is known.
pub const SPACES: [&str; 3] = ["gen_ai.", "mcp.", "otas_proxy.llm."];
