// An app for Node that writes down each request that it takes for one, and answers with it.
import { appendFileSync } from 'node:fs';
import { createServer } from 'node:http';

const [port, record] = process.argv.slice(2);
const server = createServer((request, response) => {
  appendFileSync(record, `${request.method} ${request.url}\n`);
  let body = '';
  request.setEncoding('latin1');
  request.on('data', (piece) => { body += piece; });
  request.on('end', () => {
    response.setHeader('Content-Type', 'application/json');
    response.end(JSON.stringify({ method: request.method, target: request.url, body }));
  });
});
server.keepAliveTimeout = 120000;
server.on('clientError', (error, socket) => {
  appendFileSync(record, `refused ${error.code}\n`);
  socket.destroy();
});
server.listen(Number(port), '127.0.0.1');
