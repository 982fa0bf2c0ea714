import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { refuseLateRequests } from '../../src/serving/listen.ts';

const server = createServer((incoming, outgoing) => {
  incoming.resume().on('end', () => outgoing.end('here'));
});
refuseLateRequests(server);
beforeAll(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

/** Both ends of a connection. */
async function connection(): Promise<{ readonly client: Socket; readonly served: Socket; read(): Promise<string> }> {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no port');
  const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
  const client = connect(address.port, '127.0.0.1');
  const served = await accepted;
  if (client.connecting) await once(client, 'connect');
  const read = async (): Promise<string> => {
    const data = await new Promise<Buffer>((resolve) => client.once('data', resolve));
    return data.toString().split('\r\n')[0];
  };
  return { client, served, read };
}

/** What Node says when a connection is out of time. */
const outOfTime = (socket: Socket): boolean =>
  server.emit('clientError', Object.assign(new Error('late'), { code: 'ERR_HTTP_REQUEST_TIMEOUT' }), socket);

const head = (length: number): string => `POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${length}\r\n\r\n`;

describe('a connection that is out of time', () => {
  it('is served where the request has come and was not read', async () => {
    const { client, served, read } = await connection();
    client.write(`${head(2)}{}`);
    outOfTime(served);
    expect(await read()).toBe('HTTP/1.1 200 OK');
    client.destroy();
  });

  it('is served where the body was on its way', async () => {
    const { client, served, read } = await connection();
    const request = once(server, 'request');
    client.write(head(2));
    await request;
    client.write('{}');
    outOfTime(served);
    expect(await read()).toBe('HTTP/1.1 200 OK');
    client.destroy();
  });

  it.each([
    ['nothing has come', ''],
    ['the headers are not whole', 'POST / HTTP/1.1\r\nhost: loc'],
    ['a request was served and no other has come', `${head(2)}{}`],
    ['the body is not whole', head(2)],
  ])('is refused where %s', async (_, sent) => {
    const { client, served, read } = await connection();
    const request = sent.includes('length') ? once(server, 'request') : undefined;
    client.write(sent);
    await request;
    if (sent.endsWith('{}')) expect(await read()).toBe('HTTP/1.1 200 OK');
    outOfTime(served);
    expect(await read()).toBe('HTTP/1.1 408 Request Timeout');
    client.destroy();
  });

  it('has what is no HTTP refused as ever', async () => {
    const { client, read } = await connection();
    client.write('no request\r\n\r\n');
    expect(await read()).toBe('HTTP/1.1 400 Bad Request');
    client.destroy();
  });
});
