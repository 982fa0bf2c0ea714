/**
 * Type-aware lint. Formatting is Biome's business (biome.json); the direction of imports between the folders of src/
 * is tested by test/package/imports.test.ts.
 */
import { defineConfig, globalIgnores } from 'eslint/config';
import tseslint from 'typescript-eslint';

export default defineConfig(
  // Generated code, build output, golden numbers and files of a run are not ours to polish.
  // bench/peers has dependencies of its own, which are not installed here.
  globalIgnores([
    'dist/',
    'coverage/',
    'runs/',
    'report/',
    'assets/',
    'test/golden/',
    'src/**/*_pb.ts',
    'bench/peers/',
  ]),
  {
    files: ['**/*.{ts,tsx}'],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    linterOptions: { reportUnusedDisableDirectives: 'error', noInlineConfig: true },
    rules: {
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'separate-type-imports' }],
      '@typescript-eslint/no-import-type-side-effects': 'error',
      // A union handled case by case must handle all of it; a default branch for "the rest" is a decision and counts.
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      // Numbers and booleans read well inside messages, and a graph Value prints its dtype and shape.
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true, allow: [{ from: 'file', name: 'Value' }] },
      ],
      // Off because noUncheckedIndexedAccess is off (kernels index typed arrays everywhere): the checker then takes
      // every `list[0] === undefined` guard for dead code, although the guard is right.
      '@typescript-eslint/no-unnecessary-condition': 'off',
      // `_` marks what an interface or a pattern demands and the code does not need.
      '@typescript-eslint/no-unused-vars': [
        'error',
        { argsIgnorePattern: '^_', varsIgnorePattern: '^_', caughtErrors: 'none' },
      ],
      // Callbacks that only start something: `() => void work()` and `() => sideEffect()` are both clear.
      '@typescript-eslint/no-confusing-void-expression': [
        'error',
        { ignoreArrowShorthand: true, ignoreVoidReturningFunctions: true },
      ],
      // `a === undefined || a.b !== c` says the two reasons apart; `a?.b !== c` hides the first.
      '@typescript-eslint/prefer-optional-chain': 'off',
      // An async method may satisfy an interface without waiting for anything itself.
      '@typescript-eslint/require-await': 'off',
      // `[...text]` takes a text apart into code points, which is what tokenizers and tables work on.
      '@typescript-eslint/no-misused-spread': ['error', { allow: ['string'] }],
      // Numeric kernels loop over indices of several arrays at once.
      '@typescript-eslint/prefer-for-of': 'off',
      // `type` and `interface` differ in what they say; the author chooses.
      '@typescript-eslint/consistent-type-definitions': 'off',
      // Empty string and 0 are often "absent" in file headers and arguments; both spellings are judged in review.
      '@typescript-eslint/prefer-nullish-coalescing': ['error', { ignorePrimitives: { string: true, number: true } }],
      eqeqeq: 'error',
      'no-console': 'error',
      'prefer-const': 'error',
    },
  },
  {
    // A message in the wrong quotes; tests have such texts on purpose.
    files: ['src/**/*.ts'],
    rules: { 'no-template-curly-in-string': 'error' },
  },
  {
    // Programs and their scripts speak through the console.
    files: ['scripts/**/*.ts', 'bench/**/*.ts', 'examples/*.ts', 'src/cli/**/*.ts'],
    rules: { 'no-console': 'off' },
  },
  {
    // Tests reach into results on purpose, and may say what they measured.
    files: ['**/*.test.ts'],
    rules: { '@typescript-eslint/unbound-method': 'off', 'no-console': 'off' },
  },
);
