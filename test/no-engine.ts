/** In place of ONNX Runtime in `*.test.ts`: tests that compile or train are called `*.engine.test.ts`. */
export const InferenceSession = {
  create(): never {
    throw new Error('this test compiles a graph: call its file *.engine.test.ts');
  },
};
