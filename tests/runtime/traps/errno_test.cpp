// What every kind of compilation makes of errno, thread ids and thread_local variables when a fiber changes its thread.
#include "probe.hpp"

#include "../runtime_fixture.hpp"

#include <support/ferry.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace traps {

namespace {

using testing_support::ferry;
using testing_support::on_fibers;

std::vector<variant>& variants() {
  static std::vector<variant> all;
  return all;
}

ferry* the_ferry = nullptr;

// run_probes calls each probe of each variant that `wanted` accepts, on a fiber, and passes on what it found.
template <class Wanted, class Found>
void run_probes(const Wanted& wanted, const Found& found) {
  weft::runtime_options options;
  options.workers = std::max(2u, testing_support::default_workers());
  on_fibers(
      [&] {
        ferry f;
        the_ferry = &f;
        for (const variant& v : variants()) {
          for (const probe& p : v.probes) {
            if (wanted(v, p)) found(v, p, p.find());
          }
        }
        the_ferry = nullptr;
      },
      options);
}

// covers O22 L155 L156
TEST(Trap, WhatTheLibraryTellsIsRightHoweverItsCallerIsCompiled) {
  int probes = 0;
  run_probes([](const variant&, const probe& p) { return p.promised == promise::always; },
             [&](const variant& v, const probe& p, whose found) {
               ++probes;
               EXPECT_EQ(found, whose::this_threads) << v.name << ": " << p.name;
             });
  EXPECT_GE(probes, 4 * 5);
}

// covers O20 O21
TEST(Trap, WithTheHeaderErrnoAndThreadIdsAreRightAtEveryLevel) {
  int probes = 0;
  run_probes([](const variant& v, const probe& p) { return v.guarded && p.promised == promise::with_header; },
             [&](const variant& v, const probe& p, whose found) {
               ++probes;
               EXPECT_EQ(found, whose::this_threads) << v.name << ": " << p.name;
             });
  EXPECT_GE(probes, 4 * 6);
}

// covers O23
TEST(Trap, WithoutItAnotherThreadsAreFound) {
  int plain = 0;
  std::vector<std::string> caught;
  run_probes([](const variant& v, const probe& p) { return !v.guarded && p.promised != promise::always; },
             [&](const variant& v, const probe& p, whose found) {
               ++plain;
               EXPECT_NE(found, whose::nobodys) << v.name << ": " << p.name;
               if (found == whose::another_threads) {
                 // Of variables clang keeps the address in any case.
                 EXPECT_TRUE(v.optimised || p.promised == promise::none) << v.name << ": " << p.name;
                 caught.push_back(v.name + ": " + p.name);
               }
             });
  if (plain == 0) GTEST_SKIP() << "SKIPPED: a sanitizer would report the traps";
  for (const std::string& what : caught) std::cout << "another thread's in " << what << '\n';
  if (caught.empty()) GTEST_SKIP() << "SKIPPED: this compiler keeps no address";
}

}  // namespace

bool add_variant(variant v) {
  variants().push_back(std::move(v));
  return true;
}

[[gnu::noinline]] void change_thread() {
  EXPECT_TRUE(the_ferry->cross());
  asm volatile("" ::: "memory");
}

[[gnu::noinline]] int fresh_value() {
  static std::atomic<int> last{100'000};
  return ++last;
}

[[gnu::noinline]] void set_errno_here(int value) {
  errno = value;
  asm volatile("" ::: "memory");
}

[[gnu::noinline]] int errno_here() {
  const int value = errno;
  asm volatile("" ::: "memory");
  return value;
}

[[gnu::noinline]] pthread_t self_here() {
  const pthread_t self = ::pthread_self();
  asm volatile("" ::: "memory");
  return self;
}

[[gnu::noinline]] std::thread::id id_here() {
  const std::thread::id id = std::this_thread::get_id();
  asm volatile("" ::: "memory");
  return id;
}

}  // namespace traps
