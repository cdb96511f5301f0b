console.log("Node", process.version.slice(1));
require("https").get(process.argv[1], (answer) => answer.resume()).on("error", (error) => {
  console.error(String(error));
  process.exitCode = 1;
});
