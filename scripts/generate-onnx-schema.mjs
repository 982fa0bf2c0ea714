/**
 * Regenerates src/graph/onnx/onnx_pb.ts, the TypeScript form of the public ONNX schema.
 *
 * The schema comes from the npm package `onnx-buf`, which embeds the compiled descriptor of onnx.proto; its own code
 * uses TypeScript enums, which our settings exclude, so we run protoc-gen-es again on that descriptor.
 *
 * Usage: node scripts/generate-onnx-schema.mjs
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { protoCamelCase } from '@bufbuild/protobuf/reflect';
import { base64Decode } from '@bufbuild/protobuf/wire';
import {
  CodeGeneratorRequestSchema,
  CodeGeneratorResponseSchema,
  FileDescriptorProtoSchema,
} from '@bufbuild/protobuf/wkt';

const generator = fileURLToPath(new URL('../node_modules/@bufbuild/protoc-gen-es/bin/protoc-gen-es', import.meta.url));
const target = fileURLToPath(new URL('../src/graph/onnx/onnx_pb.ts', import.meta.url));
const notice = '// Derived from onnx.proto of the ONNX project (Apache-2.0); made by scripts/generate-onnx-schema.mjs.';

/** The package version follows ONNX: its 1.20 schema describes IR versions up to 13. */
const schemaPackage = 'onnx-buf@1.20.0-1';

/** Gives every field of a message, including nested messages, its default JSON name. */
function nameJson(message) {
  for (const field of message.field) field.jsonName = protoCamelCase(field.name);
  for (const nested of message.nestedType) nameJson(nested);
}

const folder = mkdtempSync(join(tmpdir(), 'onnx-schema-'));
try {
  const [packed] = JSON.parse(
    execFileSync('npm', ['pack', '--json', schemaPackage], { cwd: folder, encoding: 'utf8' }),
  );
  execFileSync('tar', ['xzf', packed.filename], { cwd: folder });
  const module = readFileSync(join(folder, 'package/dist/onnx_pb.js'), 'utf8');
  const embedded = /fileDesc\("([A-Za-z0-9+/=]+)"/.exec(module);
  if (embedded === null) throw new Error(`${schemaPackage} holds no embedded descriptor`);

  const file = fromBinary(FileDescriptorProtoSchema, base64Decode(embedded[1]));
  // The embedded descriptor omits derivable names; a generator needs them.
  for (const message of file.messageType) nameJson(message);
  const request = create(CodeGeneratorRequestSchema, {
    fileToGenerate: [file.name],
    parameter: 'target=ts,erasable_syntax=true',
    protoFile: [file],
  });
  const output = execFileSync('node', [generator], { input: toBinary(CodeGeneratorRequestSchema, request) });
  const response = fromBinary(CodeGeneratorResponseSchema, output);
  if (response.error) throw new Error(response.error);
  if (response.file.length !== 1) throw new Error(`expected one generated file, got ${response.file.length}`);
  writeFileSync(target, `${notice}\n${response.file[0].content}`);
  console.log(`${target} written`);
} finally {
  rmSync(folder, { recursive: true });
}
