// node proxy.mjs PORT BACKEND LIMIT CALLS: a gRPC proxy of node:http2, whose sessions get a GOAWAY after so many calls.
import http2 from 'node:http2';

const [port, backend, limit, calls] = process.argv.slice(2).map(Number);
let upstream;

function session() {
  if (!upstream || upstream.closed || upstream.destroyed) {
    upstream = http2.connect(`http://127.0.0.1:${backend}`);
    upstream.on('error', () => {});
  }
  return upstream;
}

const server = http2.createServer({ settings: { maxConcurrentStreams: limit } });
const seen = new WeakMap();

server.on('sessionError', () => {});
server.on('stream', (stream, headers) => {
  const count = (seen.get(stream.session) ?? 0) + 1;
  seen.set(stream.session, count);
  const request = session().request(headers);
  let trailers = {};
  request.on('response', (answer) => stream.respond(answer, { waitForTrailers: true }));
  request.on('trailers', (last) => { trailers = last; });
  stream.on('wantTrailers', () => stream.sendTrailers(trailers));
  stream.on('error', () => request.close());
  request.on('error', () => stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR));
  stream.pipe(request).pipe(stream);
  if (calls && count === calls) stream.session.close();  // a GOAWAY, and the end once the streams have ended
});
server.listen(port, '127.0.0.1');
