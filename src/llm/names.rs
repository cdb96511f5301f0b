//! The names of the facts of a model call: OpenTelemetry's names for generative AI and MCP (all still in "development",
//! and sometimes renamed), and our own where it has none.
//!
//! All are names in `custom_properties`, whose values are flat: a list is one text, joined by commas. An unknown fact
//! is absent, never 0.

/// The version of OpenTelemetry's conventions that the names below follow (`open-telemetry/semantic-conventions-genai`).
pub const SEMCONV_VERSION: &str = "0.1.0";
/// The property that holds [`SEMCONV_VERSION`] in an event with any of these names.
pub const SEMCONV: &str = "otas.semconv.gen_ai";

/// The provider: `openai`, `anthropic`, `gcp.gemini`, …. Absent for a server that only speaks another provider's API.
pub const PROVIDER: &str = "gen_ai.provider.name";
/// `chat`, `generate_content`, `embeddings`, `execute_tool`, `fetch_response`, ….
pub const OPERATION: &str = "gen_ai.operation.name";
/// `text`, `json`, `image` or `speech`, where the request asks for one.
pub const OUTPUT_TYPE: &str = "gen_ai.output.type";
/// The conversation that the call belongs to, if the request or the response names one.
pub const CONVERSATION: &str = "gen_ai.conversation.id";

/// The agent that sent the call, by what it says of itself: `claude`, `codex`, ….
pub const AGENT_NAME: &str = "gen_ai.agent.name";
/// The agent's own id of the sub-agent.
pub const AGENT_ID: &str = "gen_ai.agent.id";
/// The agent's own id of its session. It is not OTAS's session.
pub const SESSION: &str = "session.id";
/// The agent's own id of the thread.
pub const AGENT_THREAD: &str = "otas_proxy.agent.thread_id";
/// The agent's own id of the turn.
pub const AGENT_TURN: &str = "otas_proxy.agent.turn_id";
/// The properties that name the agent. Calls of any kind may have them.
pub const OF_AGENTS: [&str; 5] = [AGENT_NAME, AGENT_ID, SESSION, AGENT_THREAD, AGENT_TURN];

/// The requested model.
pub const REQUEST_MODEL: &str = "gen_ai.request.model";
/// Whether a streamed answer was requested: true or false.
pub const REQUEST_STREAM: &str = "gen_ai.request.stream";
/// The requested maximum of output tokens.
pub const REQUEST_MAX_TOKENS: &str = "gen_ai.request.max_tokens";
/// Sampling temperature.
pub const REQUEST_TEMPERATURE: &str = "gen_ai.request.temperature";
/// Nucleus sampling.
pub const REQUEST_TOP_P: &str = "gen_ai.request.top_p";
/// Sampling from the k likeliest.
pub const REQUEST_TOP_K: &str = "gen_ai.request.top_k";
/// Penalty for frequent tokens.
pub const REQUEST_FREQUENCY_PENALTY: &str = "gen_ai.request.frequency_penalty";
/// Penalty for tokens that occurred already.
pub const REQUEST_PRESENCE_PENALTY: &str = "gen_ai.request.presence_penalty";
/// The seed of the sampling.
pub const REQUEST_SEED: &str = "gen_ai.request.seed";
/// The requested number of answers, if not one.
pub const REQUEST_CHOICES: &str = "gen_ai.request.choice.count";
/// The requested number of dimensions of embeddings.
pub const EMBEDDING_DIMENSIONS: &str = "gen_ai.embeddings.dimension.count";
/// The requested encoding of embeddings.
pub const REQUEST_ENCODING: &str = "gen_ai.request.encoding_formats";
/// The id of the response that the request continues.
pub const REQUEST_PREVIOUS: &str = "gen_ai.request.previous_response.id";

/// The model that answered.
pub const RESPONSE_MODEL: &str = "gen_ai.response.model";
/// The answer's id.
pub const RESPONSE_ID: &str = "gen_ai.response.id";
/// The stop reason in the provider's words; for several answers, each of them.
pub const FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
/// Time to first chunk: seconds from forwarding the request to the first bytes of a streamed answer.
pub const TIME_TO_FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";

/// Input tokens, including those read from and written to a cache.
pub const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
/// Output tokens, including those of reasoning.
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
/// The revision of MCP in use.
pub const MCP_VERSION: &str = "mcp.protocol.version";
/// The resource that an MCP call is about.
pub const MCP_RESOURCE: &str = "mcp.resource.uri";
/// The id of a JSON-RPC request.
pub const JSONRPC_ID: &str = "jsonrpc.request.id";

/// The code of a JSON-RPC error.
pub const RPC_STATUS: &str = "rpc.response.status_code";

/// The API, whoever the provider is: `openai.chat`, `anthropic.messages`, …
pub const API: &str = "otas_proxy.llm.api";
/// The names of the tools that the model called, in order.
pub const TOOL_CALLS: &str = "otas_proxy.llm.tool_calls";
/// The number of tool calls.
pub const TOOL_CALL_COUNT: &str = "otas_proxy.llm.tool_call_count";
/// Time to first token: seconds from forwarding the request to the first text, reasoning or tool call.
pub const TIME_TO_FIRST_TOKEN: &str = "otas_proxy.llm.time_to_first_token";
/// Output tokens per second, from the first piece of content to the last.
pub const TOKENS_PER_SECOND: &str = "otas_proxy.llm.output_tokens_per_second";
/// The longest time between two pieces of content, in seconds.
pub const LONGEST_GAP: &str = "otas_proxy.llm.longest_gap";
/// How the provider says that it served, and bills, the call: `standard`, `batch`, `flex`, `priority`, ….
pub const SERVICE_TIER: &str = "otas_proxy.llm.service_tier";
/// The provider's id of the request, for its support.
pub const PROVIDER_REQUEST_ID: &str = "otas_proxy.llm.provider_request_id";
/// The MCP result is marked as an error: true.
pub const TOOL_ERROR: &str = "otas_proxy.llm.tool_error";
/// The cost of the call's tokens, by the user's price table or the public prices.
pub const COST: &str = "otas_proxy.llm.cost";
/// The currency that [`COST`] is in.
pub const COST_CURRENCY: &str = "otas_proxy.llm.cost.currency";
/// The version of the price table that [`COST`] is based on.
pub const COST_PRICES: &str = "otas_proxy.llm.cost.prices";

/// Why expected facts are missing: a body could not be read, or not completely.
pub const PARSE_ERROR: &str = "otas.parse_error";

/// Prefixes of the names that mark a call to a model or a tool.
pub const SPACES: [&str; 3] = ["gen_ai.", "mcp.", "otas_proxy.llm."];
