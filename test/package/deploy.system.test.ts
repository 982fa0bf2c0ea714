/** The files in deploy/, as far as they can be checked without a container engine. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { linnet } from '../cli/captured-cli.ts';
import { scratchFolder } from '../scratch-folder.ts';
import { haproxy } from '../serving/local-process.ts';

const folder = fileURLToPath(new URL('../../deploy', import.meta.url));
const read = (name: string): string => readFileSync(join(folder, name), 'utf8');

const serviceSchema = z.looseObject({
  image: z.string(),
  command: z.array(z.string()).optional(),
  volumes: z.array(z.string()).default([]),
  secrets: z.array(z.string()).default([]),
  ports: z.array(z.string()).default([]),
});
const compose = z
  .object({
    services: z.record(z.string(), serviceSchema),
    secrets: z.record(z.string(), z.object({ file: z.string() })),
  })
  .parse(parse(read('compose.yaml'), { merge: true }));

const probe = z.looseObject({
  httpGet: z.object({ path: z.string(), port: z.string() }).optional(),
  tcpSocket: z.object({ port: z.string() }).optional(),
});
const containerSchema = z.looseObject({
  image: z.string(),
  args: z.array(z.string()).default([]),
  ports: z.array(z.object({ name: z.string(), containerPort: z.int() })).default([]),
  startupProbe: probe.optional(),
  readinessProbe: probe.optional(),
  livenessProbe: probe.optional(),
  volumeMounts: z.array(z.looseObject({ name: z.string(), mountPath: z.string() })).default([]),
});
const podSchema = z.object({
  containers: z.array(containerSchema),
  volumes: z.array(z.looseObject({ name: z.string() })).default([]),
});
const objectSchema = z.looseObject({
  kind: z.string(),
  metadata: z.looseObject({ name: z.string() }),
  spec: z.looseObject({
    template: z
      .object({ metadata: z.looseObject({ labels: z.record(z.string(), z.string()) }), spec: podSchema.loose() })
      .optional(),
    selector: z.looseObject({}).optional(),
    volumeClaimTemplates: z.array(z.looseObject({ metadata: z.object({ name: z.string() }) })).default([]),
  }),
});
const poolSchema = z.looseObject({
  selector: z.object({ matchLabels: z.record(z.string(), z.string()) }),
  targetPorts: z.array(z.object({ number: z.int() })),
  endpointPickerRef: z.looseObject({ name: z.string() }),
});
const routeSchema = z.looseObject({
  rules: z.array(z.looseObject({ backendRefs: z.array(z.looseObject({ kind: z.string(), name: z.string() })) })),
});
const objects = readdirSync(join(folder, 'kubernetes')).flatMap((name) =>
  parseAllDocuments(read(join('kubernetes', name))).map((document) => {
    expect(document.errors).toEqual([]);
    return objectSchema.parse(document.toJS());
  }),
);
const pods = objects.flatMap(({ spec }) => spec.template ?? []);
const containers = pods.flatMap(({ spec }) => spec.containers);

const dockerfile = read('Dockerfile');
const defaultCommand = z.array(z.string()).parse(JSON.parse(/^CMD (.*)$/m.exec(dockerfile)?.[1] ?? ''));

/** Every command line of ours, of an indexed job that of its first part. */
const commandLines = [
  defaultCommand,
  ...Object.values(compose.services).flatMap(({ image, command }) => (image === 'linnet' && command ? [command] : [])),
  ...containers
    .filter(({ image }) => image === 'linnet')
    .map(({ args }) => args.map((arg) => arg.replace('$(JOB_COMPLETION_INDEX)', '0'))),
];

const optionOf = (words: readonly string[], name: string): string | undefined => words[words.indexOf(name) + 1];

describe('deploy/', () => {
  it.each(commandLines.map((words) => [words.join(' '), words] as const))('%s is a command line', async (_, words) => {
    const { exitCode, stderr } = await linnet(...words);
    // It gets as far as what only the machine has: a file, a model, a Redis.
    expect([exitCode, stderr]).toEqual([3, expect.stringMatching(/keys|models|plan|redis/)]);
    expect((await linnet(...words, '--no-such-option')).exitCode).toBe(2);
  });

  it('starts the executable itself, which gets the signals', () => {
    expect(/^ENTRYPOINT (.*)$/m.exec(dockerfile)?.[1]).toBe('["linnet"]');
    const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    for (const { parentPath, name } of files)
      expect(readFileSync(join(parentPath, name), 'utf8')).not.toMatch(/\bnpx\b/);
  });

  it('agrees on ports, files and the Redis', () => {
    const { services, secrets } = compose;
    const servers = Object.entries(services).filter(([, { image }]) => image === 'linnet');
    const balanced = [...read('haproxy.cfg').matchAll(/^ {2}server (\S+) (\S+):(\d+) agent-send "\2:\3\\n"$/gm)];
    expect(balanced.map(([, name, host]) => [name, host])).toEqual(servers.map(([name]) => [name, name]));
    const scraped = z
      .object({
        scrape_configs: z.array(z.object({ static_configs: z.array(z.object({ targets: z.array(z.string()) })) })),
      })
      .parse(parse(read('prometheus.yml')))
      .scrape_configs.flatMap(({ static_configs: configs }) => configs.flatMap(({ targets }) => targets));
    for (const [name, { command = [], volumes, secrets: used }] of servers) {
      const port = optionOf(command, '--port') ?? '';
      expect(balanced.find(([, server]) => server === name)?.[3]).toBe(port);
      expect(scraped).toContain(`${name}:${port}`);
      expect(new URL(optionOf(command, '--sessions') ?? '').hostname in services).toBe(true);
      expect(volumes.some((volume) => volume.includes(`:${command[1]}:`))).toBe(true);
      expect(used.map((secret) => `/run/secrets/${secret}`)).toContain(optionOf(command, '--api-key-file'));
      expect(used.every((secret) => secret in secrets)).toBe(true);
      expect(dockerfile).toContain(`EXPOSE ${port}`);
    }
    const bound = [...read('haproxy.cfg').matchAll(/bind :(\d+)/g)].map(([, port]) => port);
    expect(services.haproxy.ports[0].split(':').at(-1)).toBe(bound[0]);
    expect(scraped).toContain(`haproxy:${bound[1]}`);
    const [, agentPort] = /agent-port (\d+)/.exec(read('haproxy.cfg')) ?? [];
    expect(services.agent.command?.[2]).toBe(agentPort);
    expect(services.agent.command?.slice(4)).toEqual(balanced.map(([, , host, port]) => `${host}:${port}`));
    for (const file of ['haproxy.cfg', 'haproxy-agent.mjs', 'prometheus.yml']) {
      expect(
        Object.values(services).some(({ volumes }) => volumes.some((volume) => volume.startsWith(`./${file}:`))),
      ).toBe(true);
    }
  });

  it('has manifests whose probes, mounts and services fit', () => {
    const names = objects.filter(({ kind }) => kind === 'Service').map(({ metadata }) => metadata.name);
    for (const { spec } of objects) {
      const pod = spec.template?.spec;
      for (const container of pod?.containers ?? []) {
        const ports = container.ports.map(({ name }) => name);
        for (const one of [container.startupProbe, container.readinessProbe, container.livenessProbe]) {
          const port = one?.httpGet?.port ?? one?.tcpSocket?.port;
          if (port !== undefined) expect(ports).toContain(port);
          expect(['/health', undefined]).toContain(one?.httpGet?.path);
        }
        const volumes = [
          ...(pod?.volumes ?? []).map(({ name }) => name),
          ...spec.volumeClaimTemplates.map(({ metadata }) => metadata.name),
        ];
        for (const { name } of container.volumeMounts) expect(volumes).toContain(name);
        for (const word of container.args.filter((arg) => arg.startsWith('redis://'))) {
          expect(names).toContain(new URL(word).hostname);
        }
      }
    }
    const served = containers.find(({ args }) => args[0] === 'serve');
    expect(served?.ports[0].containerPort).toBe(Number(optionOf(served?.args ?? [], '--port')));
    const labels = pods.map(({ metadata }) => metadata.labels.app);
    for (const { kind, spec } of objects) if (kind === 'Service') expect(labels).toContain(spec.selector?.app);
  });

  it('has a pool whose picker finds servers with its labels, port and measurements', () => {
    const pool = objects.find(({ kind }) => kind === 'InferencePool');
    const { selector, targetPorts, endpointPickerRef } = poolSchema.parse(pool?.spec);
    const [server] = pods.filter(({ metadata }) =>
      Object.entries(selector.matchLabels).every(([label, value]) => metadata.labels[label] === value),
    );
    expect(server.metadata.labels).toMatchObject({ 'inference.networking.k8s.io/engine-type': 'vllm' });
    const [{ args, ports }] = server.spec.containers;
    expect(targetPorts).toEqual([{ number: ports[0].containerPort }]);
    expect(args).toEqual(expect.arrayContaining(['--metrics-names', 'vllm', '--open-metrics']));
    expect(endpointPickerRef.name).toBe(`${pool?.metadata.name ?? ''}-epp`);
    const route = objects.find(({ kind }) => kind === 'HTTPRoute');
    const { rules } = routeSchema.parse(route?.spec);
    expect(rules[0].backendRefs[0]).toMatchObject({ kind: pool?.kind, name: pool?.metadata.name });
  });

  it('has an indexed job with as many parts as completions', () => {
    const { spec } = objects.find(({ kind }) => kind === 'Job') ?? objects[0];
    expect(spec.completionMode).toBe('Indexed');
    const args = spec.template?.spec.containers[0].args ?? [];
    expect(optionOf(args, '--index')).toBe(`$(JOB_COMPLETION_INDEX)/${String(spec.completions)}`);
  });

  it('installs the versions of the optional packages that are tested', () => {
    const { devDependencies } = z
      .object({ devDependencies: z.record(z.string(), z.string()) })
      .parse(JSON.parse(readFileSync(join(folder, '..', 'package.json'), 'utf8')));
    for (const name of ['ioredis', 'bullmq', 'aws4fetch'])
      expect(dockerfile).toContain(`${name}@${devDependencies[name]}`);
  });

  const title = `has a configuration that haproxy takes${haproxy === undefined ? ' (skipped: there is no haproxy)' : ''}`;
  it.skipIf(haproxy === undefined)(title, async () => {
    const file = join(await scratchFolder(), 'haproxy.cfg');
    // Names of hosts are resolved by the check.
    await writeFile(file, read('haproxy.cfg').replace(/ linnet-[ab]:/g, ' 127.0.0.1:'));
    expect(execFileSync(haproxy ?? '', ['-c', '-f', file], { encoding: 'utf8', stdio: 'pipe' })).toMatch(/valid|^$/i);
  });
});
