#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <type_traits>

#if defined(__SSE__) || defined(_M_X64)
#include <xmmintrin.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif
#if defined(_OPENMP)
#include <omp.h>
#endif

#include "lipgd/check.hpp"

// The only mention of threads. Work is cut into tasks by the shape of a problem alone; which thread
// takes which task is left to chance, so results may depend on tasks but never on threads.

namespace lipgd {

/// Asked at most every 50 ms, on the thread that called in; a true answer cancels the work.
struct Poll {
  virtual bool stop() = 0;

 protected:
  ~Poll() = default;
};

/// Sets or clears flushing of subnormals to zero on this thread, and restores it at the end. Late
/// training produces subnormals, which cost two hundred times a product; certificates need them.
class SubnormalMode {
 public:
#if defined(__SSE__) || defined(_M_X64)
  explicit SubnormalMode(bool flush) : saved_(_mm_getcsr()) {
    constexpr unsigned flush_and_zero = 0x8040U;
    _mm_setcsr(flush ? saved_ | flush_and_zero : saved_ & ~flush_and_zero);
  }
  ~SubnormalMode() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#elif defined(__aarch64__) && defined(__GNUC__)
  explicit SubnormalMode(bool flush) {
    constexpr std::uint64_t flush_to_zero = std::uint64_t{1} << 24U;
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved_));
    const std::uint64_t mode = flush ? saved_ | flush_to_zero : saved_ & ~flush_to_zero;
    __asm__ volatile("msr fpcr, %0" ::"r"(mode));
  }
  ~SubnormalMode() { __asm__ volatile("msr fpcr, %0" ::"r"(saved_)); }

 private:
  std::uint64_t saved_ = 0;
#else
  explicit SubnormalMode(bool) {}
#endif

 public:
  SubnormalMode(const SubnormalMode&) = delete;
  SubnormalMode& operator=(const SubnormalMode&) = delete;
};

namespace detail {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds poll_interval{50};

inline void relax() {
#if defined(__SSE__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__) && defined(__GNUC__)
  __asm__ volatile("yield");
#endif
}

/// Waits a little: first busily, then by giving the core to others.
class Backoff {
 public:
  void wait() {
    if (++spins_ < busy_spins)
      relax();
    else
      std::this_thread::yield();
  }

 private:
  static constexpr int busy_spins = 2000;
  int spins_ = 0;
};

/// True in a process that was forked: the thread pool of the parent does not exist here, and
/// libgomp waits for it forever.
inline std::atomic<bool>& in_forked_child() {
  static std::atomic<bool> forked{false};
  return forked;
}

inline void watch_forks() {
#if defined(__unix__) || defined(__APPLE__)
  static const int registered =
      pthread_atfork(nullptr, nullptr, [] { in_forked_child().store(true); });
  static_cast<void>(registered);
#endif
}

inline std::atomic<int>& teams_at_work() {
  static std::atomic<int> count{0};
  return count;
}

}  // namespace detail

/// Threads that share the tasks of one caller. Worker 0 is the calling thread.
class Team {
 public:
  Team(int width, Poll* poll)
      : width_(width), poll_(poll), next_poll_(detail::Clock::now() + detail::poll_interval) {}
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int width() const { return width_; }

  /// Calls f(task, worker) once for each task in [0, tasks), on any worker, and returns when all
  /// calls have ended. The first exception of a call is thrown again here.
  template <class Function>
  void run(Index tasks, Function&& f) {
    if (width_ == 1 || tasks <= 1) {
      for (Index task = 0; task < tasks; ++task) f(task, 0);
      return;
    }
    require(static_cast<std::uint64_t>(tasks) < closed, "too many tasks");
    using Plain = std::remove_reference_t<Function>;
    call_.store([](void* context, Index task,
                   int worker) { (*static_cast<Plain*>(context))(task, worker); },
                std::memory_order_relaxed);
    context_.store(const_cast<void*>(static_cast<const void*>(&f)), std::memory_order_relaxed);
    tasks_.store(tasks, std::memory_order_relaxed);
    ended_.store(0, std::memory_order_relaxed);
    ticket_.store(++epoch_ << epoch_shift, std::memory_order_release);
    while (take_one(0)) {
    }
    detail::Backoff backoff;
    while (ended_.load(std::memory_order_acquire) < tasks) {
      keep_going(0);
      backoff.wait();
    }
    // Closed before the next job is written: a late worker must not pair its ticket with that job.
    ticket_.exchange(epoch_ << epoch_shift | closed, std::memory_order_acq_rel);
    rethrow();
  }

  /// False once the work is cancelled; asks the poll when it is worker 0's time to do so.
  bool keep_going(int worker) {
    if (worker == 0 && poll_ != nullptr && detail::Clock::now() >= next_poll_) {
      if (poll_->stop()) cancel();
      next_poll_ = detail::Clock::now() + detail::poll_interval;
    }
    return !cancelled();
  }
  void cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }

  /// Takes tasks until the team is dismissed; the life of every worker but the first.
  void serve(int worker) {
    detail::Backoff backoff;
    while (!dismissed_.load(std::memory_order_acquire)) {
      if (take_one(worker))
        backoff = {};
      else
        backoff.wait();
    }
  }
  void dismiss() { dismissed_.store(true, std::memory_order_release); }

 private:
  using Call = void (*)(void*, Index, int);
  static constexpr unsigned epoch_shift = 32;
  static constexpr std::uint64_t closed = 0xffffffffULL;

  bool take_one(int worker) {
    std::uint64_t ticket = ticket_.load(std::memory_order_acquire);
    for (;;) {
      const auto task = static_cast<Index>(ticket & closed);
      const Call call = call_.load(std::memory_order_relaxed);
      void* context = context_.load(std::memory_order_relaxed);
      if (task >= tasks_.load(std::memory_order_relaxed)) return false;
      if (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel,
                                         std::memory_order_acquire))
        continue;
      try {
        call(context, task, worker);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(error_mutex_);
        if (!error_) error_ = std::current_exception();
        cancel();
      }
      ended_.fetch_add(1, std::memory_order_release);
      return true;
    }
  }

  void rethrow() {
    if (!error_) return;
    std::exception_ptr error = error_;
    error_ = nullptr;
    std::rethrow_exception(error);
  }

  int width_;
  Poll* poll_;
  detail::Clock::time_point next_poll_;
  std::uint64_t epoch_ = 0;
  std::atomic<std::uint64_t> ticket_{closed};
  std::atomic<Call> call_{nullptr};
  std::atomic<void*> context_{nullptr};
  std::atomic<Index> tasks_{0};
  alignas(64) std::atomic<Index> ended_{0};
  alignas(64) std::atomic<bool> cancelled_{false};
  std::atomic<bool> dismissed_{false};
  std::mutex error_mutex_;
  std::exception_ptr error_;
};

/// How the work on one block is shared: one worker does all of it, or a team does fixed pieces.
class Sharing {
 public:
  Sharing() = default;
  explicit Sharing(Team& team) : team_(&team) {}

  /// Calls f(begin, size) for pieces of [0, size); the pieces are a function of the size alone, and
  /// begin at multiples of the grain.
  template <class Function>
  void split(Index size, const Function& f, Index grain = 8) const {
    if (team_ == nullptr) {
      f(Index{0}, size);
      return;
    }
    const Index wanted = std::max(least_piece, (size + pieces - 1) / pieces);
    const Index piece = (wanted + grain - 1) / grain * grain;
    team_->run((size + piece - 1) / piece,
               [&](Index task, int) { f(task * piece, std::min(piece, size - task * piece)); });
  }

  static constexpr Index pieces = 8;

 private:
  static constexpr Index least_piece = 16;
  Team* team_ = nullptr;
};

/// The threads that a caller gets who asked for none in particular: what OpenMP allows here, shared
/// fairly among the teams that are at work in this process.
inline int fair_share(int limit) {
  const int teams = detail::teams_at_work().load(std::memory_order_relaxed) + 1;
  return limit > teams ? limit / teams : 1;
}

/// Threads that OpenMP would use for this caller (1 without OpenMP).
inline int openmp_threads() {
#if defined(_OPENMP)
  return omp_get_max_threads();
#else
  return 1;
#endif
}

namespace detail {

template <class Body>
void lead_team(Team& team, bool flush_subnormals, Body& body) {
#if defined(_OPENMP)
  if (team.width() > 1) {
    std::exception_ptr error;
#pragma omp parallel num_threads(team.width())
    {
      const SubnormalMode mode(flush_subnormals);
      if (omp_get_thread_num() == 0) {
        try {
          body(team);
        } catch (...) {
          error = std::current_exception();
        }
        team.dismiss();
      } else {
        team.serve(omp_get_thread_num());
      }
    }
    if (error) std::rethrow_exception(error);
    return;
  }
#endif
  const SubnormalMode mode(flush_subnormals);
  body(team);
}

/// The same on a fresh thread, whose thread pool is its own; the caller goes on answering the poll.
template <class Body>
void lead_team_apart(int width, Poll* poll, bool flush_subnormals, Body& body) {
  Team team(width, nullptr);
  std::exception_ptr error;
  std::mutex mutex;
  std::condition_variable ended;
  bool done = false;
  std::thread leader([&] {
    try {
      lead_team(team, flush_subnormals, body);
    } catch (...) {
      error = std::current_exception();
    }
    const std::lock_guard<std::mutex> lock(mutex);
    done = true;
    ended.notify_one();
  });
  {
    std::unique_lock<std::mutex> lock(mutex);
    while (!ended.wait_for(lock, poll_interval, [&] { return done; })) {
      if (poll == nullptr) continue;
      lock.unlock();
      if (poll->stop()) team.cancel();
      lock.lock();
    }
  }
  leader.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace detail

/// Calls body(team) on this thread with n_threads workers in all (at least one).
template <class Body>
void with_team(int n_threads, Poll* poll, bool flush_subnormals, Body&& body) {
  struct Presence {
    Presence() { detail::teams_at_work().fetch_add(1); }
    ~Presence() { detail::teams_at_work().fetch_sub(1); }
  } const presence;
  detail::watch_forks();
  const int width = n_threads > 1 ? n_threads : 1;
  if (width > 1 && detail::in_forked_child().load()) {
    detail::lead_team_apart(width, poll, flush_subnormals, body);
    return;
  }
  Team team(width, poll);
  detail::lead_team(team, flush_subnormals, body);
}

}  // namespace lipgd
