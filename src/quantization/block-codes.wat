;; `encodeBlocks` of block-codes.ts for two numbers at a time: the same sums in the same order, so the same bits.
;; scripts/assemble.mjs makes dist/quantization/block-codes.wasm of it.
(module
  (memory (export "memory") 1)
  ;; `sums` are four numbers that are added to: largest weight, largest error, sums of squares of weights and of errors.
  (func (export "encode")
    (param $at i32) (param $blocks i32) (param $bytes i32) (param $codes i32) (param $scales i32) (param $sums i32)
    (local $end i32) (local $i i32)
    (local $shift v128) (local $last v128)
    (local $high v128) (local $low v128) (local $v v128) (local $x v128) (local $y v128)
    (local $sumA v128) (local $sumB v128) (local $sumC v128) (local $squares v128)
    (local $a v128) (local $b v128) (local $c v128) (local $perA v128) (local $perB v128) (local $perC v128)
    (local $scale v128) (local $per v128) (local $worst v128)
    (local $e v128) (local $f v128) (local $g v128) (local $h v128)
    (local $peak f32) (local $least f32) (local $error f64) (local $other f64)
    ;; x + shift has the whole number nearest to x in its low bits.
    (local.set $shift (f64x2.splat (f64.const 0x1.8p52)))
    (local.set $last (f64x2.add (local.get $shift) (f64x2.splat (f64.const 7))))
    (loop $each
      (if (i32.eqz (local.get $blocks)) (then (return)))
      (local.set $blocks (i32.sub (local.get $blocks) (i32.const 1)))
      (local.set $end (i32.add (local.get $at) (local.get $bytes)))
      (local.set $high (v128.const i32x4 0 0 0 0))
      (local.set $low (v128.const i32x4 0 0 0 0))
      (local.set $i (local.get $at))
      (loop $peaks
        (local.set $v (v128.load (local.get $i)))
        (local.set $high (f32x4.pmax (local.get $high) (local.get $v)))
        (local.set $low (f32x4.pmin (local.get $low) (local.get $v)))
        (local.set $i (i32.add (local.get $i) (i32.const 16)))
        (br_if $peaks (i32.lt_u (local.get $i) (local.get $end))))
      (local.set $high (f32x4.pmax (local.get $high) (i8x16.shuffle 8 9 10 11 12 13 14 15 0 1 2 3 4 5 6 7 (local.get $high) (local.get $high))))
      (local.set $high (f32x4.pmax (local.get $high) (i8x16.shuffle 4 5 6 7 0 1 2 3 12 13 14 15 8 9 10 11 (local.get $high) (local.get $high))))
      (local.set $low (f32x4.pmin (local.get $low) (i8x16.shuffle 8 9 10 11 12 13 14 15 0 1 2 3 4 5 6 7 (local.get $low) (local.get $low))))
      (local.set $low (f32x4.pmin (local.get $low) (i8x16.shuffle 4 5 6 7 0 1 2 3 12 13 14 15 8 9 10 11 (local.get $low) (local.get $low))))
      (local.set $peak (f32x4.extract_lane 0 (local.get $high)))
      (local.set $least (f32x4.extract_lane 0 (local.get $low)))
      (local.set $peak
        (select (local.get $peak) (local.get $least) (f32.ge (local.get $peak) (f32.neg (local.get $least)))))
      (local.set $x
        (f32x4.div
          (f32x4.splat
            (select (f32.const -0) (local.get $peak) (f32.lt (f32.abs (local.get $peak)) (f32.const 0x1p-123))))
          (v128.const f32x4 -8 -7.5 -7 -7)))
      (local.set $y (f64x2.promote_low_f32x4 (local.get $x))) ;; a, b
      (local.set $v
        (v128.andnot
          (f64x2.div (f64x2.splat (f64.const 1)) (local.get $y))
          (f64x2.eq (local.get $y) (v128.const i32x4 0 0 0 0))))
      (local.set $a (f64x2.splat (f64x2.extract_lane 0 (local.get $y))))
      (local.set $b (f64x2.splat (f64x2.extract_lane 1 (local.get $y))))
      (local.set $perA (f64x2.splat (f64x2.extract_lane 0 (local.get $v))))
      (local.set $perB (f64x2.splat (f64x2.extract_lane 1 (local.get $v))))
      (local.set $c (f64x2.splat (f64.promote_f32 (f32x4.extract_lane 2 (local.get $x)))))
      (local.set $perC
        (v128.andnot
          (f64x2.div (f64x2.splat (f64.const 1)) (local.get $c))
          (f64x2.eq (local.get $c) (v128.const i32x4 0 0 0 0))))
      (local.set $sumA (v128.const i32x4 0 0 0 0))
      (local.set $sumB (v128.const i32x4 0 0 0 0))
      (local.set $sumC (v128.const i32x4 0 0 0 0))
      (local.set $squares (v128.const i32x4 0 0 0 0))
      (local.set $i (local.get $at))
      (loop $trials
        (local.set $v (f64x2.promote_low_f32x4 (v128.load64_zero (local.get $i))))
        (local.set $x (f64x2.add (f64x2.mul (local.get $v) (local.get $perA)) (local.get $shift)))
        (local.set $x (f64x2.sub (f64x2.pmin (local.get $x) (local.get $last)) (local.get $shift)))
        (local.set $x (f64x2.sub (local.get $v) (f64x2.mul (local.get $x) (local.get $a))))
        (local.set $sumA (f64x2.add (local.get $sumA) (f64x2.mul (local.get $x) (local.get $x))))
        (local.set $x (f64x2.add (f64x2.mul (local.get $v) (local.get $perB)) (local.get $shift)))
        (local.set $x (f64x2.sub (f64x2.pmin (local.get $x) (local.get $last)) (local.get $shift)))
        (local.set $x (f64x2.sub (local.get $v) (f64x2.mul (local.get $x) (local.get $b))))
        (local.set $sumB (f64x2.add (local.get $sumB) (f64x2.mul (local.get $x) (local.get $x))))
        (local.set $x (f64x2.add (f64x2.mul (local.get $v) (local.get $perC)) (local.get $shift)))
        (local.set $x (f64x2.sub (f64x2.pmin (local.get $x) (local.get $last)) (local.get $shift)))
        (local.set $x (f64x2.sub (local.get $v) (f64x2.mul (local.get $x) (local.get $c))))
        (local.set $sumC (f64x2.add (local.get $sumC) (f64x2.mul (local.get $x) (local.get $x))))
        (local.set $squares (f64x2.add (local.get $squares) (f64x2.mul (local.get $v) (local.get $v))))
        (local.set $i (i32.add (local.get $i) (i32.const 8)))
        (br_if $trials (i32.lt_u (local.get $i) (local.get $end))))
      (local.set $scale (local.get $a))
      (local.set $per (local.get $perA))
      (local.set $error
        (f64.add (f64x2.extract_lane 0 (local.get $sumA)) (f64x2.extract_lane 1 (local.get $sumA))))
      (local.set $other
        (f64.add (f64x2.extract_lane 0 (local.get $sumB)) (f64x2.extract_lane 1 (local.get $sumB))))
      (if (f64.lt (local.get $other) (local.get $error))
        (then
          (local.set $scale (local.get $b))
          (local.set $per (local.get $perB))
          (local.set $error (local.get $other))))
      (local.set $other
        (f64.add (f64x2.extract_lane 0 (local.get $sumC)) (f64x2.extract_lane 1 (local.get $sumC))))
      (if (f64.lt (local.get $other) (local.get $error))
        (then
          (local.set $scale (local.get $c))
          (local.set $per (local.get $perC))
          (local.set $error (local.get $other))))
      (f32.store (local.get $scales) (f32.demote_f64 (f64x2.extract_lane 0 (local.get $scale))))
      (local.set $scales (i32.add (local.get $scales) (i32.const 4)))
      (local.set $worst (v128.const i32x4 0 0 0 0))
      ;; Sixteen weights become eight bytes: four codes of 32 bits, pairs of 16, and both of a pair in a low byte.
      (loop $packs
        (local.set $v (f64x2.promote_low_f32x4 (v128.load64_zero (local.get $at))))
        (local.set $x (f64x2.add (f64x2.mul (local.get $v) (local.get $per)) (local.get $shift)))
        (local.set $x (f64x2.pmin (local.get $x) (local.get $last)))
        (local.set $v
          (f64x2.sub (local.get $v) (f64x2.mul (f64x2.sub (local.get $x) (local.get $shift)) (local.get $scale))))
        (local.set $worst (f64x2.pmax (local.get $worst) (f64x2.abs (local.get $v))))
        (local.set $v (f64x2.promote_low_f32x4 (v128.load64_zero offset=8 (local.get $at))))
        (local.set $y (f64x2.add (f64x2.mul (local.get $v) (local.get $per)) (local.get $shift)))
        (local.set $y (f64x2.pmin (local.get $y) (local.get $last)))
        (local.set $v
          (f64x2.sub (local.get $v) (f64x2.mul (f64x2.sub (local.get $y) (local.get $shift)) (local.get $scale))))
        (local.set $worst (f64x2.pmax (local.get $worst) (f64x2.abs (local.get $v))))
        (local.set $e (i8x16.shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27 (local.get $x) (local.get $y)))
        (local.set $v (f64x2.promote_low_f32x4 (v128.load64_zero offset=16 (local.get $at))))
        (local.set $x (f64x2.add (f64x2.mul (local.get $v) (local.get $per)) (local.get $shift)))
        (local.set $x (f64x2.pmin (local.get $x) (local.get $last)))
        (local.set $v
          (f64x2.sub (local.get $v) (f64x2.mul (f64x2.sub (local.get $x) (local.get $shift)) (local.get $scale))))
        (local.set $worst (f64x2.pmax (local.get $worst) (f64x2.abs (local.get $v))))
        (local.set $v (f64x2.promote_low_f32x4 (v128.load64_zero offset=24 (local.get $at))))
        (local.set $y (f64x2.add (f64x2.mul (local.get $v) (local.get $per)) (local.get $shift)))
        (local.set $y (f64x2.pmin (local.get $y) (local.get $last)))
        (local.set $v
          (f64x2.sub (local.get $v) (f64x2.mul (f64x2.sub (local.get $y) (local.get $shift)) (local.get $scale))))
        (local.set $worst (f64x2.pmax (local.get $worst) (f64x2.abs (local.get $v))))
        (local.set $f (i8x16.shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27 (local.get $x) (local.get $y)))
        (local.set $v (f64x2.promote_low_f32x4 (v128.load64_zero offset=32 (local.get $at))))
        (local.set $x (f64x2.add (f64x2.mul (local.get $v) (local.get $per)) (local.get $shift)))
        (local.set $x (f64x2.pmin (local.get $x) (local.get $last)))
        (local.set $v
          (f64x2.sub (local.get $v) (f64x2.mul (f64x2.sub (local.get $x) (local.get $shift)) (local.get $scale))))
        (local.set $worst (f64x2.pmax (local.get $worst) (f64x2.abs (local.get $v))))
        (local.set $v (f64x2.promote_low_f32x4 (v128.load64_zero offset=40 (local.get $at))))
        (local.set $y (f64x2.add (f64x2.mul (local.get $v) (local.get $per)) (local.get $shift)))
        (local.set $y (f64x2.pmin (local.get $y) (local.get $last)))
        (local.set $v
          (f64x2.sub (local.get $v) (f64x2.mul (f64x2.sub (local.get $y) (local.get $shift)) (local.get $scale))))
        (local.set $worst (f64x2.pmax (local.get $worst) (f64x2.abs (local.get $v))))
        (local.set $g (i8x16.shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27 (local.get $x) (local.get $y)))
        (local.set $v (f64x2.promote_low_f32x4 (v128.load64_zero offset=48 (local.get $at))))
        (local.set $x (f64x2.add (f64x2.mul (local.get $v) (local.get $per)) (local.get $shift)))
        (local.set $x (f64x2.pmin (local.get $x) (local.get $last)))
        (local.set $v
          (f64x2.sub (local.get $v) (f64x2.mul (f64x2.sub (local.get $x) (local.get $shift)) (local.get $scale))))
        (local.set $worst (f64x2.pmax (local.get $worst) (f64x2.abs (local.get $v))))
        (local.set $v (f64x2.promote_low_f32x4 (v128.load64_zero offset=56 (local.get $at))))
        (local.set $y (f64x2.add (f64x2.mul (local.get $v) (local.get $per)) (local.get $shift)))
        (local.set $y (f64x2.pmin (local.get $y) (local.get $last)))
        (local.set $v
          (f64x2.sub (local.get $v) (f64x2.mul (f64x2.sub (local.get $y) (local.get $shift)) (local.get $scale))))
        (local.set $worst (f64x2.pmax (local.get $worst) (f64x2.abs (local.get $v))))
        (local.set $h (i8x16.shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27 (local.get $x) (local.get $y)))
        (local.set $x
          (i16x8.add (i16x8.narrow_i32x4_s (local.get $e) (local.get $f)) (i16x8.splat (i32.const 8))))
        (local.set $x
          (v128.and
            (v128.or (local.get $x) (i32x4.shr_u (local.get $x) (i32.const 12)))
            (v128.const i32x4 255 255 255 255)))
        (local.set $y
          (i16x8.add (i16x8.narrow_i32x4_s (local.get $g) (local.get $h)) (i16x8.splat (i32.const 8))))
        (local.set $y
          (v128.and
            (v128.or (local.get $y) (i32x4.shr_u (local.get $y) (i32.const 12)))
            (v128.const i32x4 255 255 255 255)))
        (local.set $x (i16x8.narrow_i32x4_u (local.get $x) (local.get $y)))
        (v128.store64_lane 0 (local.get $codes) (i8x16.narrow_i16x8_u (local.get $x) (local.get $x)))
        (local.set $codes (i32.add (local.get $codes) (i32.const 8)))
        (local.set $at (i32.add (local.get $at) (i32.const 64)))
        (br_if $packs (i32.lt_u (local.get $at) (local.get $end))))
      (f64.store (local.get $sums)
        (f64.max (f64.load (local.get $sums)) (f64.promote_f32 (f32.abs (local.get $peak)))))
      (f64.store offset=8 (local.get $sums)
        (f64.max
          (f64.load offset=8 (local.get $sums))
          (f64.max (f64x2.extract_lane 0 (local.get $worst)) (f64x2.extract_lane 1 (local.get $worst)))))
      (f64.store offset=16 (local.get $sums)
        (f64.add
          (f64.load offset=16 (local.get $sums))
          (f64.add (f64x2.extract_lane 0 (local.get $squares)) (f64x2.extract_lane 1 (local.get $squares)))))
      (f64.store offset=24 (local.get $sums) (f64.add (f64.load offset=24 (local.get $sums)) (local.get $error)))
      (br $each))))
