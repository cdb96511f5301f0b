console.log(globalThis.Deno ? `Deno ${Deno.version.deno}` : `Bun ${Bun.version}`);
try {
  await (await fetch(globalThis.Deno ? Deno.args[0] : Bun.argv[2])).text();
} catch (error) {
  console.error(String(error.cause ?? error));
  globalThis.Deno ? Deno.exit(1) : process.exit(1);
}
