const server = require("http").createServer((request, response) => {
  response.end(`pid=${process.pid};`);
});
server.listen({ fd: 3 });
process.on("SIGTERM", () => server.close());
